package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/history"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// hold holds back the versions that go, before anything is changed: no other run
// is to install them again after an undo that was interrupted. A hold on a
// version that is installed has no effect. It returns the number of this run.
func (u *undoing) hold() (int, error) {
	u.w.Undoes(u.numbers())
	number, err := u.w.Number()
	if err != nil {
		return 0, err
	}
	for _, c := range u.wanted {
		id := tree.ID{Name: c.Module, Version: c.After.Version}
		if id.Version == "" || !system.IsDir(u.Tree.VersionDir(id)) {
			continue
		}
		h := tree.Hold{Run: number}
		if u.Tree.State(id) == tree.Added {
			s := build.SourcesOf(u.Tree, id, c.Target(), nil)
			if h.Sources, err = s.Digest(); err == nil {
				h.SourcesStamp, err = s.Stamp()
			}
		}
		if err == nil {
			err = u.w.Tree.RecordHold(id, c.Target(), h)
		}
		if err != nil {
			return 0, errors.Join(fmt.Errorf("%s: %w", id, err), u.release())
		}
	}
	return number, nil
}

// release takes all holds back, of an undo that does not begin.
func (u *undoing) release() error {
	var errs []error
	for _, c := range u.wanted {
		if c.After.Version != "" {
			errs = append(errs, u.w.Tree.ForgetHold(tree.ID{Name: c.Module, Version: c.After.Version}, c.Target()))
		}
	}
	return errors.Join(errs...)
}

// settle takes the holds back where the undo has failed, says what is held
// back, and marks the runs as undone if nothing of them is left.
func (u *undoing) settle(ctx context.Context, number int) error {
	if u.w.Unfinished() {
		return nil // whoever finishes it looks at the holds
	}
	var errs []error
	var held []string
	whole := true
	for _, c := range u.changes {
		now := history.StateOf(u.Tree, c.Module, c.Target())
		undone := now.Same(c.Before) || !system.IsDir(u.Kernel(c.Target()).ModuleDir())
		whole = whole && undone
		if !slices.Contains(u.wanted, c) {
			continue
		}
		loser := c.After.Version
		if undone {
			loser = c.Before.Version
			if c.After.Version != "" && c.After.Version != c.Before.Version {
				held = append(held, fmt.Sprintf("%s/%s for %s", c.Module, c.After.Version, c.Kernel))
			}
		}
		if loser != "" && (c.After.Version != c.Before.Version || !undone) {
			errs = append(errs, u.w.Tree.ForgetHold(tree.ID{Name: c.Module, Version: loser}, c.Target()))
		}
	}
	if len(held) > 0 {
		u.Report.Progressf("held back, until the sources change or dkms install installs it: %s", strings.Join(held, ", "))
	}
	u.verify(ctx)
	if !whole {
		return errors.Join(errs...)
	}
	for _, r := range u.runs {
		r.UndoneBy = number
		errs = append(errs, r.Save(u.w.Tree))
		for _, n := range r.Undoes {
			if again, err := history.Read(u.Tree, n); err == nil {
				again.UndoneBy = 0
				errs = append(errs, again.Save(u.w.Tree))
			} else if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
