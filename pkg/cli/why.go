package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// whyVerb explains why a module is installed or not.
type whyVerb struct {
	named
	kernels
	dryAnyway
	jsonOutput
}

func (*whyVerb) about() about {
	return about{
		name: "why", everyday: true, help: "why a module is, or is not, installed for a kernel",
		examples: [2]string{"why hello", "why hello/1.0 -k 6.1.0-57-amd64"},
	}
}

// Run explains why a module is installed or not.
func (v *whyVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		return exit.OK, inspect.Why(c.ctx, on, inspect.Query{Name: m.name, Version: m.version, Choice: v.choice(), JSON: v.JSON})
	})
}
