package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
	"dkms/pkg/system"
)

// ldtarballVerb loads an archive of sources and builds.
type ldtarballVerb struct {
	byRoot
	kernels
	archived
	forced
	safeUpgrade
	ignoresAll
	File string `arg:"" optional:"" name:"archive" help:"The archive; - is the standard input."`
}

func (*ldtarballVerb) about() about {
	return about{
		name: "ldtarball", original: true, help: "load an archive of mktarball, or one of sources",
		examples: [2]string{"ldtarball hello.tar.gz", "ldtarball --dry-run hello.tar.gz"},
		needs:    "root",
	}
}

// Run loads an archive of sources and builds.
func (v *ldtarballVerb) Run(c *call) error {
	if file := v.file(); file != "" && file != "-" && !system.IsFile(c.host.Abs(file)) {
		return exit.Errorf(exit.NoSource, "%s: no such file", file)
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return exit.OK, run.Ldtarball(c.ctx, m, run.Named{Archive: v.file(), Input: c.process.In}, v.choice(),
			run.Options{DryRun: v.DryRun, Force: v.Force, SafeUpgrade: v.RpmSafeUpgrade})
	})
}

// file returns the archive: a word takes precedence over the option.
func (v *ldtarballVerb) file() string {
	if v.File != "" {
		return v.File
	}
	return v.Archive
}
