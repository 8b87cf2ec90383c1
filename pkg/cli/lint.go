package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
	"dkms/pkg/system"
)

// lintVerb checks the sources of a module, for its author.
type lintVerb struct {
	modules
	kernels
	dryAnyway
	jsonOutput
	Conf  string `kong:"short='c',placeholder='FILE'" help:"The dkms.conf to judge."`
	Where string `kong:"arg,optional,name='directory | module/version'" help:"The sources; the working directory without."`
}

func (*lintVerb) about() about {
	return about{
		name: "lint", help: "judge a source directory, for authors of modules",
		examples: [2]string{"lint", "lint ./hello-1.0"},
	}
}

// Run checks the sources of a module.
func (v *lintVerb) Run(c *call) error {
	s, err := v.what(c.host)
	if err != nil {
		return err
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return inspect.Lint(c.ctx, m, inspect.Source{Dir: s.dir, Name: s.name, Version: s.version, Conf: v.Conf, Choice: v.choice(), JSON: v.JSON})
	})
}

// what returns the directory or the module to check.
func (v *lintVerb) what(h system.Host) (s source, err error) {
	word := v.Where
	if word != "" {
		s.dir = sourceDir(h, word)
	}
	if s.dir != "" {
		word = ""
	} else if err := lostPath(h, exit.NoConfInDir, []string{word}); err != nil {
		return s, err
	}
	s.id, err = v.with(word)
	return s, err
}
