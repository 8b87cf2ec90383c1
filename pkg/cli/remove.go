package cli

import (
	"dkms/pkg/engine"
)

// removeVerb also forgets the module once nothing built is left of it.
type removeVerb struct {
	named
	dryRun
	kernels
	allKernels
	indexing
	safeUpgrade
}

func (*removeVerb) about() about {
	return about{
		name: "remove", original: true, everyday: true, help: "unbuild it and forget it",
		examples: [2]string{"remove hello/1.0 --all", "remove hello/1.0 --all --dry-run"},
	}
}

// Run also forgets the module once nothing built is left of it.
func (v *removeVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(engine.Request{
		Verb: engine.Remove, Name: m.name, Version: m.version, Kernels: v.Kernelver, Arches: v.Arch,
		All: v.All, NoDepmod: v.NoDepmod, DryRun: v.DryRun, SafeUpgrade: v.RpmSafeUpgrade,
	})
}
