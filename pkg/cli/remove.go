package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
	"dkms/pkg/tree"
)

// removeVerb uninstalls and unbuilds a module, and forgets it once no build is
// left.
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
		name: "remove", original: true, everyday: true, help: "unbuild a module and forget it",
		examples: [2]string{"remove hello/1.0 --all", "remove hello/1.0 --all --dry-run"},
	}
}

// Run uninstalls and unbuilds a module, and forgets it once no build is left.
func (v *removeVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		return run.Remove(c.ctx, on, tree.ID{Name: m.name, Version: m.version}, v.choice(), v.All,
			run.Options{DryRun: v.DryRun, NoDepmod: v.NoDepmod, SafeUpgrade: v.RpmSafeUpgrade}, run.Person{In: c.process.In, Out: c.process.Err})
	})
}
