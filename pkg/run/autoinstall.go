package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Autoinstall installs what is missing for a kernel. It checks before it takes
// the lock: if there is nothing to do, it writes nothing and starts no program.
// hook says that the kernel is being installed.
func Autoinstall(ctx context.Context, m *machine.Machine, choice machine.Choice, o Options, hook bool) (code exit.Code, err error) {
	if switchedOff(m) {
		return exit.OK, nil
	}
	name := "autoinstall"
	if hook {
		name = "kernel_postinst"
	}
	targets, err := autoinstallTargets(m, name, choice)
	if err != nil {
		return 0, err
	}
	facts, err := m.Facts()
	if err != nil {
		return 0, err
	}
	if facts.Idle(targets) && !guardWaits(ctx, m, facts) {
		sayIdle(m, facts, targets)
		return exit.OK, nil
	}
	err = transact(ctx, m, name, o, func(w *machine.Writer) error {
		code, err = autoinstall(ctx, m, w, targets, o, job{background: true, source: prebuiltSource(m, o, false), kernelInstall: hook, command: true})
		return err
	})
	return code, err
}

// noAutoinstall is the file that switches automatic installation off.
const noAutoinstall = "/etc/dkms/no-autoinstall"

// switchedOff reports that automatic installation is off, if the administrator
// has switched it off.
func switchedOff(m *machine.Machine) bool {
	if !system.IsFile(m.Host.Root.Path(noAutoinstall)) {
		return false
	}
	m.Report.Progressf("automatic installation is switched off by %s", noAutoinstall)
	return true
}

// sayIdle says at a terminal that there is nothing to do. Hooks and services
// have nothing to say then.
func sayIdle(m *machine.Machine, facts *machine.Facts, targets []tree.Target) {
	var kernels []string
	for _, t := range targets {
		kernels = append(kernels, t.Kernel)
	}
	switch {
	case !m.Report.Attended():
	case len(facts.Packages()) == 0:
		m.Report.Progressf("nothing to do: no module is registered")
	default:
		m.Report.Progressf("nothing to do: every module is ready for %s", strings.Join(kernels, ", "))
	}
}

// autoinstallTargets are the kernels of a run: the named ones, each once, or
// the kernels that discovery finds if none is named. The hook of a kernel names
// exactly one.
func autoinstallTargets(m *machine.Machine, name string, choice machine.Choice) ([]tree.Target, error) {
	if name != "autoinstall" && len(choice.Kernels) != 1 {
		return nil, exit.Errorf(exit.KernelCount, "%s takes exactly one kernel", name).WithHint("dkms %s -k RELEASE", name)
	}
	targets, err := m.Targets(choice, m.Discover)
	var once []tree.Target
	for _, t := range targets {
		if !slices.Contains(once, t) {
			once = append(once, t)
		}
	}
	return once, err
}

// autoinstall installs what is missing for some kernels.
func autoinstall(ctx context.Context, m *machine.Machine, w *machine.Writer, targets []tree.Target, o Options, j job) (exit.Code, error) {
	facts, err := m.Facts()
	if err == nil {
		err = facts.Readable()
	}
	if err != nil {
		return 0, err
	}
	for _, t := range targets {
		if why := facts.Index(t); why != "" && w != nil {
			m.Report.Progressf("%s: depmod is run again", why)
			w.Stale(t)
		}
	}
	j.plan = facts.PlanAutoinstall(ctx, targets, o.Force)
	if unsigned := machine.LeftToSign(ctx, facts, targets); len(unsigned) > 0 {
		j.plan.Append(plan.ForSign(unsigned, "the key of this machine"))
	}
	j.confs = facts.KnownConfs()
	for _, n := range j.plan.Notes {
		if h := facts.Module(machine.Subject{ID: n.ID, Target: n.Target}).Installed(); n.Outcome == plan.Ready && h.Reason != "" {
			m.Report.Warnf("%s: kernel %s: %s", n.ID, n.Target.Kernel, h.Reason)
		}
	}
	for _, id := range facts.Broken() {
		err := m.Broken(id)
		m.Report.Emit(report.Event{Kind: report.Failure, Module: id.String(), Text: err.Error(), Err: err})
	}
	x, err := carryOut(ctx, m, w, o, j)
	if err != nil {
		return 0, err
	}
	return x.summary(targets), nil
}

// summary prints the result of every package, a line for each outcome, and
// returns the exit status: 21 if everything that failed lacks headers, 11 for
// other failures.
func (x *executor) summary(targets []tree.Target) exit.Code {
	headersOnly, failed := true, false
	for _, t := range targets {
		lists := map[plan.Outcome][]string{}
		for _, s := range x.order {
			if s.Target != t {
				continue
			}
			res, word := x.results[s], s.ID.String()
			if res.outcome == plan.Failed {
				failed = true
				headersOnly = headersOnly && exit.Status(res.err) == exit.NoHeaders
			}
			if res.outcome == plan.Skipped {
				word = fmt.Sprintf("%s (%s)", s.ID, res.reason)
			}
			lists[res.outcome] = append(lists[res.outcome], word)
		}
		x.summaryLines(t, lists)
	}
	switch {
	case !failed:
		return exit.OK
	case headersOnly:
		return exit.NoHeaders
	}
	return exit.SomeFailed
}

func (x *executor) summaryLines(t tree.Target, lists map[plan.Outcome][]string) {
	for _, l := range []struct {
		outcome plan.Outcome
		text    string
		kind    report.Kind
	}{
		{plan.Ready, "was installed before", report.Detail},
		{plan.Changed, "installed", report.Progress},
		{plan.Skipped, "skipped, not for this kernel", report.Progress},
		{plan.Deferred, "waiting for modules that are not registered yet", report.Progress},
		{plan.Held, "held back by an undo", report.Progress},
		{plan.Failed, "failed", report.Failure},
	} {
		if len(lists[l.outcome]) > 0 {
			x.w.Report.Emit(report.Event{Kind: l.kind, Kernel: t.Kernel, Arch: t.Arch,
				Text: fmt.Sprintf("kernel %s: %s: %s", t.Kernel, l.text, strings.Join(lists[l.outcome], ", "))})
		}
	}
}

// taken says how long a run over several kernels took.
func (x *executor) taken(d time.Duration) {
	kernels := map[tree.Target]bool{}
	good, all := 0, 0
	for i, s := range x.plan.Steps {
		if s.Kind != plan.Build {
			continue
		}
		kernels[s.Target] = true
		all++
		if !x.failed[i] {
			good++
		}
	}
	if len(kernels) > 1 && !x.scratch {
		x.w.Report.Progressf("%d of %d builds for %d kernels ended well, in %s", good, all, len(kernels), report.About(d))
	}
}
