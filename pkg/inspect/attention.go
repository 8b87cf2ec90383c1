package inspect

import (
	"context"
	"fmt"

	"dkms/pkg/machine"
)

// Attention prints, below the everyday verbs, whether the machine can be
// restarted, and what has to be done about the kernels that may boot next. It
// starts no program when everything is ready.
func Attention(ctx context.Context, m *machine.Machine) error {
	t, err := newTeller(m, Query{})
	if err != nil {
		return err
	}
	if len(t.facts.Registered()) == 0 {
		m.Report.Result("This machine: no module is registered")
		return t.facts.Readable()
	}
	verdicts, err := t.verdicts(ctx)
	if err != nil {
		return err
	}
	r := newRestart(t.facts.Boot().Next, verdicts)
	m.Report.Result("This machine: " + r.line())
	if guard, err := machine.ReadBootGuard(m); err == nil && guard != nil {
		m.Report.Result("  boot guard: " + guard.Line())
	}
	others := 0
	for _, v := range verdicts {
		if !v.Safe {
			others++
		}
	}
	for _, v := range r.verdicts {
		if v.Safe {
			continue
		}
		others--
		indent := "  "
		if len(r.verdicts) > 1 {
			m.Report.Result(indent + v.head())
			indent += "  "
		}
		for _, line := range t.notReady(v) {
			m.Report.Result(indent + line)
		}
	}
	if others > 0 {
		m.Report.Result(fmt.Sprintf("  %s not safe to boot: dkms check", otherKernels(others)))
	}
	return nil
}

// otherKernels counts kernels that do not boot next.
func otherKernels(n int) string {
	if n == 1 {
		return "another kernel is"
	}
	return fmt.Sprintf("%d other kernels are", n)
}
