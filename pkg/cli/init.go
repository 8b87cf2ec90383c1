package cli

import (
	"cmp"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// initVerb writes the dkms.conf of sources that have none.
type initVerb struct {
	dryRun
	Where string `arg:"" optional:"" name:"directory" help:"The sources; the working directory if it is left out."`
}

func (*initVerb) about() about {
	return about{
		name: "init", help: "write dkms.conf, and a Makefile where there is none, from sources",
		examples: [2]string{"init", "init ./hello --dry-run"},
	}
}

// Run writes the dkms.conf of a directory.
func (v *initVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return exit.OK, run.Init(c.ctx, m, cmp.Or(v.Where, "."), run.Options{DryRun: v.DryRun})
	})
}
