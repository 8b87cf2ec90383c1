package cli

import (
	"dkms/pkg/engine"
)

// unbuildVerb also deletes what was built; the module stays added.
type unbuildVerb struct {
	named
	dryRun
	kernels
	allKernels
	indexing
}

func (*unbuildVerb) about() about {
	return about{
		name: "unbuild", original: true, help: "uninstall it and delete the build",
		examples: [2]string{"unbuild hello/1.0 -k 6.1.0-56-amd64", "unbuild hello/1.0 --all"},
	}
}

// Run also deletes what was built; the module stays added.
func (v *unbuildVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(engine.Request{
		Verb: engine.Unbuild, Name: m.name, Version: m.version, Kernels: v.Kernelver, Arches: v.Arch,
		All: v.All, NoDepmod: v.NoDepmod, DryRun: v.DryRun,
	})
}
