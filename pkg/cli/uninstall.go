package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
	"dkms/pkg/tree"
)

// uninstallVerb removes a module from kernels; it stays built.
type uninstallVerb struct {
	named
	byRoot
	kernels
	allKernels
	indexing
}

func (*uninstallVerb) about() about {
	return about{
		name: "uninstall", original: true, help: "take a module out of the kernel again",
		examples: [2]string{"uninstall hello/1.0", "uninstall hello/1.0 --all"},
		needs:    "root",
	}
}

// Run removes a module from kernels; it stays built.
func (v *uninstallVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		return run.Uninstall(c.ctx, on, tree.ID{Name: m.name, Version: m.version}, v.choice(), v.All, run.Options{DryRun: v.DryRun, NoDepmod: v.NoDepmod})
	})
}
