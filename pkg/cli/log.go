package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// logVerb prints the log of the last build of a module.
type logVerb struct {
	named
	kernels
	dryAnyway
	Follow bool `name:"follow" short:"f" help:"Follow the log of the build under way to its end."`
}

func (*logVerb) about() about {
	return about{
		name: "log", everyday: true, help: "print the log of the last build, or of the last failure",
		examples: [2]string{"log", "log hello --follow"},
	}
}

// Run prints the log of the last build of a module.
func (v *logVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(func(on *machine.Machine) (exit.Code, error) {
		if v.Follow {
			return inspect.Follow(c.ctx, on, inspect.Query{Name: m.name, Version: m.version, Choice: v.choice()})
		}
		return exit.OK, inspect.Log(c.ctx, on, inspect.Query{Name: m.name, Version: m.version, Choice: v.choice()})
	})
}
