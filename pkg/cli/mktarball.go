package cli

import (
	"dkms/pkg/engine"
)

// mktarballVerb packs sources and builds into an archive.
type mktarballVerb struct {
	named
	dryRun
	kernels
	allKernels
	archived
	Conf         string `kong:"short='c',placeholder='FILE'" help:"The dkms.conf to read."`
	BinariesOnly bool   `kong:"" help:"Leave out the sources."`
	SourceOnly   bool   `kong:"" help:"Leave out the builds."`
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
	return c.tell(engine.Request{
		Verb: engine.Mktarball, Name: m.name, Version: m.version, Kernels: v.Kernelver, Arches: v.Arch, All: v.All,
		Archive: v.Archive, Conf: v.Conf, BinariesOnly: v.BinariesOnly, SourceOnly: v.SourceOnly, DryRun: v.DryRun,
	})
}
