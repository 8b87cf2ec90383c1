package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// statusVerb lists modules, builds and installations.
type statusVerb struct {
	named
	kernels
	dryAnyway
	jsonOutput
	ignoresAll
}

func (*statusVerb) about() about {
	return about{
		name: "status", original: true, everyday: true, help: "list modules, builds and installations",
		examples: [2]string{"status", "status hello -k 6.1.0-56-amd64"},
	}
}

// Run lists modules, builds and installations.
func (v *statusVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		return exit.OK, inspect.Status(c.ctx, on, inspect.Query{Name: m.name, Version: m.version, Choice: v.choice(), JSON: v.JSON})
	})
}
