package run

import (
	"context"
	"fmt"
	"slices"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/fleet"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/tree"
)

// transact runs do as the only writer of the machine. In a dry run there is no
// writer, and nothing can change.
func transact(ctx context.Context, m *machine.Machine, verb string, o Options, do func(w *machine.Writer) error) error {
	if o.DryRun {
		return do(nil)
	}
	w, err := m.Lock(ctx, "dkms "+verb)
	if err != nil {
		return err
	}
	w.Depmod = !o.NoDepmod
	err = do(w)
	if !slices.Contains(before, verb) {
		guardBoot(ctx, m, w)
	}
	return w.Close(ctx, err)
}

// before are the verbs that come before others: packages take out the old version
// of a module and add the new one before they build it.
var before = []string{"remove", "uninstall", "unbuild", "add"}

// NeedRoot refuses to change the system for anybody but root.
func NeedRoot(m *machine.Machine, verb string) error {
	if m.Host.UID == 0 {
		return nil
	}
	return exit.Errorf(exit.Usage, "%s changes the system: only root may do that", verb).WithHint("sudo dkms %s ...", verb)
}

// job is a plan with the settings of its executor that are not options.
type job struct {
	plan  *plan.Plan
	confs map[machine.Subject]conf.Result
	// background says that nobody waits for the run.
	background bool
	source     Source
	// kernelInstall says that the kernel is being installed: its initramfs is
	// made afterwards.
	kernelInstall bool
	// command says that the administrator's command runs if something has
	// changed.
	command bool
	// back are the installations that the steps of kind Restore bring back.
	back map[machine.Subject]*backTo
	// firstFailure ends the run at the first module that fails.
	firstFailure bool
}

// carryOut carries out a plan, or shows it in a dry run.
func carryOut(ctx context.Context, m *machine.Machine, w *machine.Writer, o Options, j job) (*executor, error) {
	j.plan.Close(plan.Closing{
		Index: !o.NoDepmod, Initramfs: !j.kernelInstall, Load: o.Modprobe || m.Framework.ModprobeOnInstall,
		Command: j.command && m.Framework.PostTransaction != "", Running: m.Host.Release,
	})
	x := newExecutor(w, o, j.plan, j.confs)
	if w == nil {
		show(m.Report, j.plan)
		return x.dry(m), nil
	}
	x.background, x.source, x.firstFailure, x.back = j.background, j.source, j.firstFailure, j.back
	if err := x.run(ctx); err != nil {
		return x, err
	}
	return x, x.tellRefused(ctx)
}

// dry fills in the results of everything that needs no step.
func (x *executor) dry(m *machine.Machine) *executor {
	x.w = &machine.Writer{Machine: m}
	for _, n := range x.plan.Notes {
		x.note(machine.Subject{ID: n.ID, Target: n.Target}, result{n.Outcome, n.Reason, n.Err})
	}
	return x
}

// named carries out a plan for named modules, after it has said what needs no
// step, and returns the status of the first failure.
func named(ctx context.Context, m *machine.Machine, w *machine.Writer, o Options, j job) (exit.Code, error) {
	mention(m.Report, j.plan)
	x, err := carryOut(ctx, m, w, o, j)
	if err != nil {
		return 0, err
	}
	return x.first(), nil
}

// mention says what of a plan needs no step.
func mention(r *report.Reporter, p *plan.Plan) {
	for _, n := range p.Notes {
		if n.Outcome != plan.Ready {
			continue
		}
		text := fmt.Sprintf("%s: %s", n.ID, n.Reason)
		if n.Target.Kernel != "" {
			text += " for " + n.Target.String()
		}
		r.Progressf("%s", text)
	}
}

// needsVersion is the error of a verb that got no version.
func needsVersion(verb, hint string) error {
	return exit.Errorf(exit.Usage, "%s needs a module and its version", verb).WithHint("%s", hint)
}

// would prints what only a real run would do.
func would(m *machine.Machine, format string, args ...any) {
	m.Report.Result("would " + fmt.Sprintf(format, args...))
}

// prebuiltSource is a source of builds of other machines, or nil. With --force,
// modules are always built here. tryAgain says that somebody waits for the
// builds.
func prebuiltSource(m *machine.Machine, o Options, tryAgain bool) Source {
	p := fleet.NewPrebuilt(m)
	if p == nil || o.Force {
		return nil
	}
	p.TryAgain = tryAgain
	return p
}

// Export writes builds as an image, signed with the key in use.
func Export(ctx context.Context, m *machine.Machine, e fleet.Export) error {
	return transact(ctx, m, "export", Options{DryRun: e.DryRun}, func(w *machine.Writer) error {
		e.Sign = func(t tree.Target) (*sign.Signer, error) {
			s, _, err := signerFor(ctx, w, t, false)
			return s, err
		}
		return e.Write(ctx, m)
	})
}
