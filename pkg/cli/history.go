package cli

import (
	"strconv"

	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

// runNumber is the argument of verbs that are about a run on record.
type runNumber struct {
	Record string `arg:"" optional:"" name:"run" help:"The number of the run, see dkms history."`
}

// number is the number of the run, or 0 if none was given.
func (r runNumber) number() (int, error) {
	if r.Record == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(r.Record)
	if err != nil || n < 1 {
		return 0, exit.Errorf(exit.Usage, "%s: not the number of a run", r.Record).WithHint("dkms history lists the runs")
	}
	return n, nil
}

// historyVerb tells what runs have changed.
type historyVerb struct {
	runNumber
	jsonOutput
	dryAnyway
}

func (*historyVerb) about() about {
	return about{
		name: "history", everyday: true, help: "list what runs have changed, or all about one of them",
		examples: [2]string{"history", "history 12"},
	}
}

// Run tells what runs have changed.
func (v *historyVerb) Run(c *call) error {
	n, err := v.number()
	if err != nil {
		return err
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) { return exit.OK, inspect.History(m, n, v.JSON) })
}
