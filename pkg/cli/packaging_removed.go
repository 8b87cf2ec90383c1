package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// packagingRemovedVerb is only for the scripts of packages, see packaging.md.
type packagingRemovedVerb struct {
	byRoot
	Input string `arg:"" optional:"" name:"-" help:"Paths come on the standard input."`
}

func (*packagingRemovedVerb) about() about {
	return about{
		name: "packaging-removed", hidden: true, help: "take out what a transaction is about to remove",
		examples: [2]string{"packaging-removed -", "packaging-removed - --dry-run"},
		needs:    "root",
	}
}

// Run removes the modules that a transaction is about to remove.
func (v *packagingRemovedVerb) Run(c *call) error {
	if v.Input != "-" {
		return exit.Errorf(exit.Usage, "packaging-removed reads paths from the standard input").WithHint("dkms packaging-removed -")
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) { return run.PathsRemoved(c.ctx, m, c.process.In) })
}
