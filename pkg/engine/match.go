package engine

import (
	"context"
	"fmt"

	"dkms/pkg/exit"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// match installs for one kernel what is installed for another.
func (e *Engine) match(ctx context.Context, req *Request) (code exit.Code, err error) {
	if len(req.Kernels) > 1 {
		return 0, exit.Errorf(exit.KernelCount, "match takes exactly one kernel")
	}
	targets, err := e.targets(req, e.running)
	if err != nil {
		return 0, err
	}
	to := targets[0]
	switch {
	case req.Template == "":
		return 0, exit.Errorf(exit.Usage, "match needs the kernel to take after").WithHint("dkms match --templatekernel RELEASE -k RELEASE")
	case req.Template == to.Kernel:
		return 0, exit.Errorf(exit.BadOption, "kernel %s cannot be its own template", to.Kernel)
	case req.Name != "" && !system.IsDir(e.tree.ModuleDir(req.Name)):
		return 0, exit.Errorf(exit.NotAdded, "%s is not registered with dkms", req.Name)
	}
	from := tree.Target{Kernel: req.Template, Arch: to.Arch}
	if err := from.Check(); err != nil {
		return 0, err
	}
	err = e.locking(ctx, req, func() error {
		ids, err := e.installedFor(from, req.Name)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			e.report.Progressf("nothing is installed for kernel %s: nothing to do", from.Kernel)
			return nil
		}
		if err := e.headersFor(to); err != nil {
			return err
		}
		code, err = e.installAll(ctx, req, ids, to)
		return err
	})
	return code, err
}

// installedFor lists what is installed for a target, of one package or all.
func (e *Engine) installedFor(t tree.Target, name string) ([]tree.ID, error) {
	all, err := e.tree.All()
	var ids []tree.ID
	for _, v := range all {
		if v.State != tree.Absent && e.tree.IsInstalled(v.ID, t) && (name == "" || name == v.ID.Name) {
			ids = append(ids, v.ID)
		}
	}
	return ids, err
}

// installAll installs several versions for one target; one that is broken is
// reported and left out.
func (e *Engine) installAll(ctx context.Context, req *Request, ids []tree.ID, t tree.Target) (exit.Code, error) {
	var subjects []plan.Subject
	for _, id := range ids {
		e.report.Result(fmt.Sprintf("Module:  %s\nVersion: %s", id.Name, id.Version))
		if e.tree.State(id) == tree.Broken {
			e.report.Error(e.broken(id))
			continue
		}
		subjects = append(subjects, e.subjects(id, []tree.Target{t})...)
	}
	p := plan.ForInstall(subjects, plan.Options{Force: req.Force})
	return e.carryThrough(ctx, req, p, nil)
}
