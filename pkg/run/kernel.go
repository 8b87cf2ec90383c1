package run

import (
	"context"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// KernelPreinst drops the builds for a kernel that is about to be replaced,
// except those that autoinstall would not bring back.
func KernelPreinst(ctx context.Context, m *machine.Machine, choice machine.Choice, o Options) (exit.Code, error) {
	return dropKernel(ctx, m, "kernel_preinst", choice, o)
}

// KernelPrerm drops the builds for a kernel that is about to be removed.
func KernelPrerm(ctx context.Context, m *machine.Machine, choice machine.Choice, o Options) (exit.Code, error) {
	return dropKernel(ctx, m, "kernel_prerm", choice, o)
}

func dropKernel(ctx context.Context, m *machine.Machine, name string, choice machine.Choice, o Options) (code exit.Code, err error) {
	targets, err := autoinstallTargets(m, name, choice)
	if err != nil {
		return 0, err
	}
	err = transact(ctx, m, name, o, func(w *machine.Writer) error {
		code, err = dropBuilds(ctx, m, w, targets[0], name == "kernel_preinst", o)
		return err
	})
	return code, err
}

// dropBuilds deletes the builds for a kernel; with onlyAuto, it keeps those
// that autoinstall would not bring back.
func dropBuilds(ctx context.Context, m *machine.Machine, w *machine.Writer, t tree.Target, onlyAuto bool, o Options) (exit.Code, error) {
	subjects, err := buildsFor(ctx, m, t, onlyAuto)
	if err != nil {
		return exit.OK, err
	}
	if w != nil && !onlyAuto {
		if err := forgetFailures(m, w, t); err != nil {
			return exit.OK, err
		}
		defer func() {
			if keptErr := w.Tree.DropKept(t); keptErr != nil {
				m.Report.Warnf("kernel %s: previous builds stay: %v", t.Kernel, keptErr)
			}
		}()
	}
	if len(subjects) == 0 {
		return exit.OK, nil
	}
	x, err := carryOut(ctx, m, w, o, job{plan: plan.ForUnbuild(subjects)})
	if err != nil {
		return 0, err
	}
	if w != nil {
		system.RemoveEmptyDirs(m.Kernel(t).ModuleDir(), m.Host.Root.InstallTree())
	}
	for _, s := range x.order {
		if x.results[s].err != nil {
			return exit.KernelHookFailed, nil
		}
	}
	return exit.OK, nil
}

// forgetFailures deletes the records and logs of failed builds for a kernel
// that goes.
func forgetFailures(m *machine.Machine, w *machine.Writer, t tree.Target) error {
	all, err := m.Tree.Registered()
	if err != nil {
		return err
	}
	for _, v := range all {
		w.Tree.ForgetFailure(v.ID, t)
		build.DropAttempts(w.Tree, v.ID, t)
	}
	return nil
}

// buildsFor lists the versions that have a build for a target.
func buildsFor(ctx context.Context, m *machine.Machine, t tree.Target, onlyAuto bool) ([]plan.Subject, error) {
	all, err := m.Tree.Registered()
	if err != nil {
		return nil, err
	}
	var subjects []machine.Subject
	for _, v := range all {
		if m.Tree.IsBuilt(v.ID, t) {
			subjects = append(subjects, machine.Subject{ID: v.ID, Target: t})
		}
	}
	var confs []conf.Result
	if onlyAuto {
		confs = m.Confs(ctx, subjects, m.ConfFile)
	}
	var list []plan.Subject
	for i, s := range subjects {
		if onlyAuto && (confs[i].Err != nil || !confs[i].Conf.Autoinstall) {
			continue
		}
		list = append(list, inTree(m.Tree, s.ID, t))
	}
	return list, nil
}
