package run

import (
	"context"
	"fmt"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Match installs for one kernel what is installed for another, template: one
// package, or all packages if name is empty.
func Match(ctx context.Context, m *machine.Machine, name, template string, choice machine.Choice, o Options) (code exit.Code, err error) {
	if len(choice.Kernels) > 1 {
		return 0, exit.Errorf(exit.KernelCount, "match takes exactly one kernel")
	}
	targets, err := m.Targets(choice, m.Running)
	if err != nil {
		return 0, err
	}
	to := targets[0]
	switch {
	case template == "":
		return 0, exit.Errorf(exit.Usage, "match needs the kernel to take after").WithHint("dkms match --templatekernel RELEASE -k RELEASE")
	case template == to.Kernel:
		return 0, exit.Errorf(exit.BadOption, "kernel %s cannot be its own template", to.Kernel)
	case name != "" && !system.IsDir(m.Tree.ModuleDir(name)):
		return 0, m.NotRegistered(name)
	}
	like := tree.Target{Kernel: template, Arch: to.Arch}
	if err := like.Check(); err != nil {
		return 0, err
	}
	err = transact(ctx, m, "match", o, func(w *machine.Writer) error {
		ids, err := installedFor(m, like, name)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			m.Report.Progressf("nothing is installed for kernel %s: nothing to do", like.Kernel)
			return nil
		}
		if err := m.CheckHeaders(to); err != nil {
			return err
		}
		p, err := planMatch(m, ids, to, o)
		if err != nil {
			return err
		}
		code, err = named(ctx, m, w, o, job{plan: p, source: prebuiltSource(m, o, true)})
		return err
	})
	return code, err
}

// installedFor lists what is installed for a target, of one package or of all.
func installedFor(m *machine.Machine, t tree.Target, name string) ([]tree.ID, error) {
	all, err := m.Tree.All()
	var ids []tree.ID
	for _, v := range all {
		if v.State != tree.Absent && m.Tree.IsInstalled(v.ID, t) && (name == "" || name == v.ID.Name) {
			ids = append(ids, v.ID)
		}
	}
	return ids, err
}

// planMatch plans to install several versions for one target; it reports broken
// versions and leaves them out.
func planMatch(m *machine.Machine, ids []tree.ID, t tree.Target, o Options) (*plan.Plan, error) {
	facts, err := m.Facts()
	if err != nil {
		return nil, err
	}
	var subjects []plan.Subject
	for _, id := range ids {
		m.Report.Result(fmt.Sprintf("Module:  %s\nVersion: %s", id.Name, id.Version))
		if m.Tree.State(id) == tree.Broken {
			m.Report.Error(m.Broken(id))
			continue
		}
		subjects = append(subjects, facts.Subjects(id, []tree.Target{t})...)
	}
	if o.Force {
		subjects = facts.Forced(subjects)
	}
	return plan.ForInstall(subjects, plan.Options{Force: o.Force}), nil
}
