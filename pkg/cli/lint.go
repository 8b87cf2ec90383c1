package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// lintVerb checks the sources of a module, for its author.
type lintVerb struct {
	place
	kernels
	dryAnyway
	jsonOutput
	Conf string `short:"c" placeholder:"FILE" help:"The dkms.conf to judge."`
}

func (*lintVerb) about() about {
	return about{
		name: "lint", help: "judge a source directory, for authors of modules",
		examples: [2]string{"lint", "lint ./hello-1.0"},
	}
}

// Run checks the sources of a module.
func (v *lintVerb) Run(c *call) error {
	s, err := v.find(c.host)
	if err != nil {
		return err
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return inspect.Lint(c.ctx, m, inspect.Source{Dir: s.dir, Name: s.name, Version: s.version, Conf: v.Conf, Choice: v.choice(), JSON: v.JSON})
	})
}
