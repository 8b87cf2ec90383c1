package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// checkVerb reports whether it is safe to boot.
type checkVerb struct {
	anyKernels
	dryAnyway
	jsonOutput
}

func (*checkVerb) about() about {
	return about{
		name: "check", everyday: true, help: "is it safe to boot: are all modules of a kernel ready",
		examples: [2]string{"check", "check -k 6.1.0-57-amd64"},
		instead:  "why",
	}
}

// Run reports whether it is safe to boot.
func (v *checkVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return inspect.Check(c.ctx, m, inspect.Query{Choice: v.choice(), JSON: v.JSON, Quiet: c.options.Quiet})
	})
}
