package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// listVerb shows the state of every module for every kernel.
type listVerb struct {
	named
	kernels
	dryAnyway
	jsonOutput
}

func (*listVerb) about() about {
	return about{
		name: "list", everyday: true, help: "how every module stands for every kernel, at a glance",
		examples: [2]string{"list", "list hello --json"},
	}
}

// Run shows the state of every module for every kernel.
func (v *listVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		return exit.OK, inspect.List(c.ctx, on, inspect.Query{Name: m.name, Version: m.version, Choice: v.choice(), JSON: v.JSON})
	})
}
