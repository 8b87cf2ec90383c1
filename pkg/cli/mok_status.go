package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// mokStatusVerb reports the signing key and who trusts it.
type mokStatusVerb struct {
	kernels
	dryAnyway
	jsonOutput
}

func (*mokStatusVerb) about() about {
	return about{
		running: true, name: "mok status", help: "does this machine trust the signing key",
		examples: [2]string{"mok status", "mok status --json"},
	}
}

// Run reports the signing key and who trusts it.
func (v *mokStatusVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return inspect.MOK(c.ctx, m, inspect.Query{Choice: v.choice(), JSON: v.JSON})
	})
}
