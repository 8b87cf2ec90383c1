package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// undoVerb brings back the modules that were installed before a run.
type undoVerb struct {
	runNumber
	byRoot
	kernels
	indexing
}

func (*undoVerb) about() about {
	return about{
		name: "undo", everyday: true, help: "bring back the modules that were installed before a run",
		examples: [2]string{"undo --dry-run", "undo 12 -k 6.1.0-57-amd64"},
		needs:    "root",
	}
}

// Run brings back the modules that were installed before a run.
func (v *undoVerb) Run(c *call) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return run.Undo(c.ctx, m, n, v.choice(), run.Options{DryRun: v.DryRun, NoDepmod: v.NoDepmod})
	})
}
