package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/plan"
	"dkms/pkg/tree"
)

// resign signs what is built with the key in use now, after that has changed:
// one module, or all of them, for the named kernels or all.
func (e *Engine) resign(ctx context.Context, req *Request) (code exit.Code, err error) {
	err = e.locking(ctx, req, func() error {
		subjects, err := e.signSubjects(req)
		if err != nil {
			return err
		}
		name, err := e.signerName(ctx, subjects, req.DryRun)
		if err != nil {
			return err
		}
		p := plan.ForSign(subjects, name)
		code, err = e.carryThrough(ctx, req, p, nil)
		return err
	})
	return code, err
}

// signerName is who signs now.
func (e *Engine) signerName(ctx context.Context, subjects []plan.Subject, dry bool) (string, error) {
	if len(subjects) == 0 {
		return "", nil
	}
	signer, err := e.openSigner(ctx, subjects[0].Target, dry)
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

// signSubjects are the builds that a request to sign is about.
func (e *Engine) signSubjects(req *Request) ([]plan.Subject, error) {
	all, err := e.tree.All()
	if err != nil {
		return nil, err
	}
	filters := []tree.Target{{}}
	if len(req.Kernels)+len(req.Arches) > 0 {
		filters = e.filters(req)
	}
	var list []plan.Subject
	for _, v := range all {
		if !matches(req.Name, v.ID.Name) || !matches(req.Version, v.ID.Version) {
			continue
		}
		for _, b := range v.Builds {
			for _, f := range filters {
				if matches(f.Kernel, b.Kernel) && matches(f.Arch, b.Arch) {
					list = append(list, plan.Subject{ID: v.ID, Target: b.Target, Built: true, Installed: b.Installed})
				}
			}
		}
	}
	if req.Name != "" && len(list) == 0 {
		return nil, exit.Errorf(exit.NotAdded, "nothing is built of %s", strings.TrimSuffix(req.Name+"/"+req.Version, "/")).
			WithHint("dkms status lists what is")
	}
	return list, nil
}

// sign signs one build again and puts the result over what is installed of it.
func (r *run) sign(ctx context.Context, sub subject) error {
	signer, err := r.signer(ctx, sub.Target)
	if err != nil {
		return fmt.Errorf("%s: %w", sub.ID, err)
	}
	if signer == nil {
		return exit.Errorf(exit.Usage, "%s: modules for %s are not signed here", sub.ID, sub.Target)
	}
	b := build.Builder{Host: r.host, Tree: r.tree, Run: r.Engine.run, Report: r.report, Framework: r.framework}
	undo, done, err := b.Resign(ctx, build.Job{ID: sub.ID, Kernel: r.kernel(sub.Target), Signer: signer})
	if err != nil {
		return err
	}
	if !r.tree.IsInstalled(sub.ID, sub.Target) {
		return done()
	}
	if err := r.tree.MarkPending(sub.Target); err != nil {
		return errors.Join(err, undo())
	}
	r.stale(sub.Target)
	changed, err := r.installer.Refresh(sub.ID, sub.Target)
	if err != nil && !changed {
		return errors.Join(err, undo())
	}
	return errors.Join(err, done())
}
