package run

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Heal carries out cures. A cure that fails is a warning, and does not stop the
// others.
func Heal(ctx context.Context, m *machine.Machine, cures []machine.Cure, o Options) error {
	return transact(ctx, m, "doctor", o, func(w *machine.Writer) error {
		for _, c := range cures {
			if err := heal(ctx, m, w, c); err != nil {
				m.Report.Warnf("not fixed: %v", err)
			}
		}
		return w.Index(ctx)
	})
}

func heal(ctx context.Context, m *machine.Machine, w *machine.Writer, c machine.Cure) error {
	switch c.Kind {
	case machine.Reindex:
		w.Stale(c.Target)
	case machine.Reinstall:
		_, err := autoinstall(ctx, m, w, []tree.Target{c.Target}, Options{}, job{command: true})
		return err
	case machine.ForgetKernel:
		return forgetKernel(ctx, m, w, c.Target)
	case machine.Delete:
		return os.RemoveAll(c.Path)
	case machine.Protect:
		return os.Chmod(c.Path, 0o600)
	}
	return nil
}

// forgetKernel deletes what the tree has for a kernel that is gone.
func forgetKernel(ctx context.Context, m *machine.Machine, w *machine.Writer, t tree.Target) error {
	names, err := m.Tree.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		originals := m.Tree.Originals(name, t)
		if err := os.RemoveAll(originals); err != nil {
			return err
		}
		system.RemoveEmptyDirs(filepath.Dir(originals), m.Tree.ModuleDir(name))
	}
	if _, err := dropBuilds(ctx, m, w, t, false, Options{}); err != nil {
		return err
	}
	for _, name := range names {
		if slices.Contains(m.Tree.ActiveTargets(name), t) && !system.IsDir(m.Tree.ActiveLink(name, t)) {
			if err := w.Tree.Deactivate(name, t); err != nil {
				return err
			}
		}
	}
	return nil
}
