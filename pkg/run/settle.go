package run

import (
	"context"
	"slices"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Settle installs what the hooks of a transaction could not, when it is over: a
// module that builds on one that came after it, or modules for headers whose
// package calls no hook. It is for the kernels that packages build for, and says
// nothing about what cannot be built now either: whoever tried said that.
func Settle(ctx context.Context, m *machine.Machine) (code exit.Code, err error) {
	facts, err := m.Facts()
	if err != nil || system.IsFile(m.Host.Root.Path(noAutoinstall)) {
		return exit.OK, err
	}
	v := &verb{m, nil, "autoinstall", machine.Choice{}, Options{}}
	targets := slices.DeleteFunc(v.packageTargets(Package{}), func(t tree.Target) bool { return !m.Kernel(t).HasHeaders() })
	if facts.Idle(targets) || len(facts.PlanAutoinstall(ctx, targets, false).Steps) == 0 {
		return exit.OK, nil
	}
	err = transact(ctx, m, "autoinstall", Options{}, func(w *machine.Writer) error {
		facts, err := m.Facts()
		if err != nil {
			return err
		}
		p := facts.PlanAutoinstall(ctx, targets, false)
		p.Notes = nil
		x, err := carryOut(ctx, m, w, Options{}, job{
			plan: p, confs: facts.KnownConfs(), source: prebuiltSource(m, Options{}, false), command: true,
		})
		if err == nil {
			code = x.summary(targets)
		}
		return err
	})
	return code, err
}
