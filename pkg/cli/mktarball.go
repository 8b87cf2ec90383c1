package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// mktarballVerb packs sources and builds into an archive.
type mktarballVerb struct {
	named
	dryRun
	kernels
	allKernels
	archived
	Conf         string `short:"c" placeholder:"FILE" help:"The dkms.conf to read."`
	BinariesOnly bool   `help:"Leave out the sources."`
	SourceOnly   bool   `help:"Leave out the builds."`
}

func (*mktarballVerb) about() about {
	return about{
		name: "mktarball", original: true, help: "write sources and builds into an archive",
		examples: [2]string{"mktarball hello/1.0 --archive hello.tar.gz", "mktarball hello/1.0 --source-only"},
	}
}

// Run packs sources and builds into an archive.
func (v *mktarballVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		return exit.OK, run.Mktarball(c.ctx, on, run.Tarball{
			Named:  run.Named{Name: m.name, Version: m.version, Archive: v.Archive, Conf: v.Conf},
			Choice: v.choice(), All: v.All, BinariesOnly: v.BinariesOnly, SourceOnly: v.SourceOnly,
		}, run.Options{DryRun: v.DryRun})
	})
}
