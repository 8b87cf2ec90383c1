package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// generateMOKVerb makes the key that signs modules.
type generateMOKVerb struct {
	dryRun
	kernels
	ignoresAll
}

func (*generateMOKVerb) about() about {
	return about{
		name: "generate_mok", original: true, help: "make the key that signs modules",
		examples: [2]string{"generate_mok", "generate_mok --dry-run"},
	}
}

// Run makes the key that signs modules.
func (v *generateMOKVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return exit.OK, run.GenerateMOK(c.ctx, m, v.choice(), run.Options{DryRun: v.DryRun})
	})
}
