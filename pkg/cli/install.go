package cli

import (
	"dkms/pkg/engine"
)

// installVerb installs a module, building it first where needed.
type installVerb struct {
	sources
	kernels
	dryRun
	forced
	safeUpgrade
	jobs
	installing
}

func (*installVerb) about() about {
	return about{
		name: "install", original: true, everyday: true, help: "install it, building it first where needed",
		examples: [2]string{"install ./hello-1.0", "install --dry-run hello/1.0 -k 6.1.0-56-rt-amd64"},
		needs:    "root",
	}
}

func (v *installVerb) needsRoot() bool { return !v.DryRun }

// Run installs a module, building it first where needed.
func (v *installVerb) Run(c *call) error {
	s, err := v.find(c.host)
	if err != nil {
		return err
	}
	return c.do(v.jobs, v.SymlinkModules, engine.Request{
		Verb: engine.Install, Name: s.name, Version: s.version, Source: s.dir, Archive: s.archive, Input: c.process.In,
		Kernels: v.Kernelver, Arches: v.Arch, Conf: v.Conf, DryRun: v.DryRun, Force: v.Force, SafeUpgrade: v.RpmSafeUpgrade,
		ForceVersion: v.ForceVersionOverride, NoDepmod: v.NoDepmod, Modprobe: v.ModprobeOnInstall,
	})
}
