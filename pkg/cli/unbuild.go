package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
	"dkms/pkg/tree"
)

// unbuildVerb uninstalls a module and deletes its builds; the module stays
// added.
type unbuildVerb struct {
	named
	dryRun
	kernels
	allKernels
	indexing
}

func (*unbuildVerb) about() about {
	return about{
		name: "unbuild", original: true, help: "uninstall a module and delete its build",
		examples: [2]string{"unbuild hello/1.0 -k 6.1.0-56-amd64", "unbuild hello/1.0 --all"},
	}
}

// Run uninstalls a module and deletes its builds; the module stays added.
func (v *unbuildVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		return run.Unbuild(c.ctx, on, tree.ID{Name: m.name, Version: m.version}, v.choice(), v.All, run.Options{DryRun: v.DryRun, NoDepmod: v.NoDepmod})
	})
}
