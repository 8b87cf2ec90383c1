package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/run"
)

// doctorVerb looks for faults that affect modules.
type doctorVerb struct {
	dryRun
	kernels
	forced
	jobs
	jsonOutput
	Fix bool `name:"fix" help:"Do what is safe."`
}

func (*doctorVerb) about() about {
	return about{
		name: "doctor", everyday: true, help: "look for what is wrong, and say what cures it",
		examples: [2]string{"doctor", "doctor --fix"},
		needs:    "root for --fix", instead: "why",
	}
}

func (v *doctorVerb) needsRoot() bool { return v.Fix && !v.DryRun }

// Run looks for faults that affect modules.
func (v *doctorVerb) Run(c *call) error {
	return c.do(v.jobs, false, func(m *machine.Machine) (exit.Code, error) {
		found, err := inspect.Examine(c.ctx, m, v.choice(), v.Force)
		if err != nil {
			return 0, err
		}
		if v.Fix && !v.DryRun {
			if found, err = v.fix(c, m, found); err != nil {
				return 0, err
			}
		}
		return inspect.Prescription{JSON: v.JSON, Fix: v.Fix, DryRun: v.DryRun}.Tell(m, found)
	})
}

// fix makes the safe repairs and returns the remaining findings.
func (v *doctorVerb) fix(c *call, m *machine.Machine, found []inspect.Finding) ([]inspect.Finding, error) {
	cures := inspect.Cures(found)
	if len(cures) == 0 {
		return found, nil
	}
	if err := run.Heal(c.ctx, m, cures, run.Options{}); err != nil {
		return nil, err
	}
	left, err := inspect.Examine(c.ctx, m, v.choice(), v.Force)
	for _, f := range inspect.Gone(found, left) {
		m.Report.Emit(report.Event{Kind: report.Done, Step: "fix", Text: "fixed: " + f.Text})
	}
	return left, err
}
