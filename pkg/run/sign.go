package run

import (
	"context"
	"errors"
	"fmt"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/tree"
)

// Sign signs existing builds again with the key in use, after the key has
// changed: one module, or all modules if none is named, for the named kernels
// or all. Name and Version may be shell patterns.
func Sign(ctx context.Context, m *machine.Machine, n Named, choice machine.Choice, o Options) (code exit.Code, err error) {
	err = transact(ctx, m, "sign", o, func(w *machine.Writer) error {
		subjects, err := signSubjects(m, n, choice)
		if err != nil {
			return err
		}
		name, err := signerName(ctx, m, w, subjects)
		if err != nil {
			return err
		}
		code, err = named(ctx, m, w, o, job{plan: plan.ForSign(subjects, name)})
		return err
	})
	return code, err
}

// signerName is the name of the current signer.
func signerName(ctx context.Context, m *machine.Machine, w *machine.Writer, subjects []plan.Subject) (string, error) {
	if len(subjects) == 0 {
		return "", nil
	}
	signer, err := openSigner(ctx, m, w, subjects[0].Target)
	switch {
	case errors.Is(err, errNoPair):
		return "a new key", nil
	case err != nil:
		return "", err
	case signer == nil:
		return "", exit.Errorf(exit.Usage, "modules are not signed on this machine").
			WithHint("dkms mok status says why; try_sign_modules in framework.conf decides")
	}
	return signer.Name(), nil
}

// signSubjects are the builds that a request to sign selects.
func signSubjects(m *machine.Machine, n Named, choice machine.Choice) ([]plan.Subject, error) {
	all, err := m.Tree.All()
	if err != nil {
		return nil, err
	}
	filters := []tree.Target{{}}
	if !choice.Any() {
		filters = choice.Filters()
	}
	var list []plan.Subject
	for _, v := range all {
		if !machine.Matches(n.Name, v.ID.Name) || !machine.Matches(n.Version, v.ID.Version) {
			continue
		}
		for _, b := range v.Builds {
			for _, f := range filters {
				if machine.MatchesTarget(f, b.Target) {
					list = append(list, plan.Subject{ID: v.ID, Target: b.Target, Built: true, Installed: b.Installed})
				}
			}
		}
	}
	if n.Name != "" && len(list) == 0 {
		return nil, exit.Errorf(exit.NotAdded, "nothing is built of %s", n.word()).WithHint("dkms status lists what is")
	}
	return list, nil
}

// sign signs one build again and updates its installed files.
func (x *executor) sign(ctx context.Context, sub machine.Subject) error {
	signer, _, err := x.signer(ctx, sub.Target)
	if err != nil {
		return fmt.Errorf("%s: %w", sub.ID, err)
	}
	if signer == nil {
		return exit.Errorf(exit.Usage, "%s: modules for %s are not signed here", sub.ID, sub.Target)
	}
	in, err := x.w.Inputs(ctx)
	if err != nil {
		return err
	}
	b := build.Builder{Inputs: in, Tree: x.w.Tree, Report: x.w.Report}
	undo, done, err := b.Resign(ctx, build.Job{ID: sub.ID, Kernel: x.w.Kernel(sub.Target), Signer: signer})
	if err != nil {
		return err
	}
	if !x.w.Tree.IsInstalled(sub.ID, sub.Target) {
		return done()
	}
	if err := x.w.Touch(sub); err != nil {
		return errors.Join(err, undo())
	}
	x.installed = append(x.installed, sub)
	extended, err := machine.AsExtension(x.w.Machine, sub)
	if err != nil {
		return errors.Join(err, undo())
	}
	if extended {
		x.w.Fresh(sub.Target)
		if err := (extending{x.w, sub}).again(ctx); err != nil {
			return errors.Join(err, undo())
		}
		return done()
	}
	changed, err := x.w.Installer.Refresh(sub.ID, sub.Target)
	if err != nil && !changed {
		return errors.Join(err, undo())
	}
	return errors.Join(err, done())
}
