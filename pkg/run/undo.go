package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/history"
	"dkms/pkg/install"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// undoing takes back what some runs have changed.
type undoing struct {
	*machine.Machine
	w *machine.Writer
	// all are the records, the newest first, and runs those to be undone.
	all, runs []*history.Record
	// changes are what the runs together have changed, and wanted those of them
	// for the chosen kernels.
	changes, wanted []*history.Change
	back            map[machine.Subject]*backTo
}

// Undo brings back the modules that were installed before a run, for the chosen
// kernels or for all; with run 0, before the last run that has changed modules.
// If a package manager's transaction called the run, all runs of the transaction
// are undone. Nothing is built: the previous builds come from the tree. If one
// of them is gone, or if a module has changed since, nothing is changed.
func Undo(ctx context.Context, m *machine.Machine, run int, choice machine.Choice, o Options) (code exit.Code, err error) {
	err = transact(ctx, m, "undo", o, func(w *machine.Writer) error {
		u := &undoing{Machine: m, w: w, back: map[machine.Subject]*backTo{}}
		if err := u.find(run); err != nil {
			return err
		}
		if err := u.compose(choice); err != nil {
			return err
		}
		p, err := u.plan()
		if err != nil {
			return err
		}
		if w == nil || len(p.Steps) == 0 {
			code, err = named(ctx, m, w, o, job{plan: p, command: true})
			return err
		}
		number, err := u.hold()
		if err != nil {
			return err
		}
		code, err = named(ctx, m, w, o, job{plan: p, command: true, back: u.back})
		return errors.Join(err, u.settle(ctx, number))
	})
	return code, err
}

// find finds the runs to be undone.
func (u *undoing) find(run int) error {
	var err error
	if u.all, _, err = history.List(u.Tree); err != nil {
		return err
	}
	at := slices.IndexFunc(u.all, func(r *history.Record) bool {
		return r.Run == run || run == 0 && len(r.Changes) > 0 && !r.Ended.IsZero()
	})
	switch {
	case at < 0 && run == 0:
		return exit.Errorf(exit.Usage, "there is nothing to undo: no run on record has changed an installed module").WithHint("dkms history lists the runs")
	case at < 0:
		return exit.Errorf(exit.Usage, "there is no record of run %d", run).WithHint("dkms history lists the runs")
	}
	r := u.all[at]
	switch {
	case r.Ended.IsZero():
		return exit.Errorf(exit.Usage, "run %d has not ended yet", r.Run)
	case r.UndoneBy != 0:
		return exit.Errorf(exit.Usage, "run %d was undone by run %d", r.Run, r.UndoneBy).WithHint("dkms undo %d takes that back", r.UndoneBy)
	case run == 0 && len(r.Undoes) > 0:
		return u.twice(r, u.all[at+1:])
	case len(r.Changes) == 0:
		return exit.Errorf(exit.Usage, "run %d has changed no installed module", r.Run).WithHint("dkms history %d shows what it has done", r.Run)
	}
	for _, o := range u.all {
		same := o.Caller.Transaction != "" && o.Caller.Transaction == r.Caller.Transaction
		if o == r || same && len(r.Undoes)+len(o.Undoes)+o.UndoneBy == 0 && len(o.Changes) > 0 && !o.Ended.IsZero() {
			u.runs = append(u.runs, o)
		}
	}
	return nil
}

// twice is the error of an undo without a number after an undo.
func (u *undoing) twice(r *history.Record, older []*history.Record) error {
	hint := fmt.Sprintf("dkms undo %d takes that back", r.Run)
	for _, o := range older {
		if len(o.Changes) > 0 && len(o.Undoes)+o.UndoneBy == 0 {
			hint += fmt.Sprintf("\ndkms undo %d goes further back", o.Run)
			break
		}
	}
	return exit.Errorf(exit.Usage, "the last run, %d, has undone %s already", r.Run, runWords(r.Undoes)).WithHint("%s", hint)
}

// runWords names runs.
func runWords(runs []int) string {
	list := make([]string, len(runs))
	for i, n := range runs {
		list[i] = fmt.Sprint(n)
	}
	if len(list) == 1 {
		return "run " + list[0]
	}
	return "runs " + strings.Join(list, ", ")
}

func (u *undoing) numbers() []int {
	var list []int
	for _, r := range slices.Backward(u.runs) {
		list = append(list, r.Run)
	}
	return list
}

// compose puts the changes of the runs together: what was there before the first
// of them, and after the last.
func (u *undoing) compose(choice machine.Choice) error {
	for _, r := range slices.Backward(u.runs) {
		for _, c := range r.Changes {
			at := slices.IndexFunc(u.changes, func(o *history.Change) bool { return o.Module == c.Module && o.Target() == c.Target() })
			if at < 0 {
				whole := *c
				u.changes = append(u.changes, &whole)
				continue
			}
			u.changes[at].After = c.After
		}
	}
	u.changes = slices.DeleteFunc(u.changes, func(c *history.Change) bool { return c.Before.Same(c.After) })
	if choice.Any() { // nothing was chosen
		if err := u.spareNew(); err != nil {
			return err
		}
	}
	filters := []tree.Target{{}}
	if !choice.Any() {
		filters = choice.Filters()
	}
	for _, c := range u.changes {
		if slices.ContainsFunc(filters, func(f tree.Target) bool { return machine.MatchesTarget(f, c.Target()) }) {
			u.wanted = append(u.wanted, c)
		}
	}
	return nil
}

// spareNew leaves out the kernels that came with the transaction of a package
// manager: they had no modules before, and would boot without any.
func (u *undoing) spareNew() error {
	if u.runs[0].Caller.Transaction == "" {
		return nil
	}
	spared := map[tree.Target]bool{}
	for _, c := range u.changes {
		t := c.Target()
		if !slices.ContainsFunc(u.changes, func(o *history.Change) bool { return o.Target() == t && o.Before.Version != "" }) && !u.served(t) {
			spared[t] = true
		}
	}
	u.changes = slices.DeleteFunc(u.changes, func(c *history.Change) bool { return spared[c.Target()] })
	for t := range spared {
		if len(u.changes) == 0 {
			return exit.Errorf(exit.Usage, "%s has installed modules for kernel %s, which had none before and would start without any", runWords(u.numbers()), t.Kernel).
				WithHint("dkms undo %d -k %s takes them out all the same", u.runs[0].Run, u.KernelArg(t))
		}
		u.Report.Progressf("kernel %s had no modules before, and keeps those that it got; dkms uninstall takes them out", t.Kernel)
	}
	return nil
}

// served tells whether a module is installed for a kernel that the runs have not
// changed.
func (u *undoing) served(t tree.Target) bool {
	names, _ := u.Tree.Names()
	return slices.ContainsFunc(names, func(name string) bool {
		changed := slices.ContainsFunc(u.changes, func(c *history.Change) bool { return c.Module == name && c.Target() == t })
		return !changed && u.Tree.Active(name, t) != ""
	})
}

// plan plans the undo, or returns why it cannot be.
func (u *undoing) plan() (*plan.Plan, error) {
	p := &plan.Plan{}
	var errs []error
	for _, c := range slices.Backward(u.wanted) {
		note := plan.Note{ID: tree.ID{Name: c.Module, Version: c.Before.Version}, Target: c.Target()}
		now := history.StateOf(u.Tree, c.Module, c.Target())
		switch {
		case now.Same(c.Before):
			note.Outcome, note.Reason = plan.Ready, "is as it was before "+runWords(u.numbers())
			if note.ID.Version == "" {
				note.ID.Version = c.After.Version
			}
			p.Notes = append(p.Notes, note)
			continue
		case !system.IsDir(u.Kernel(c.Target()).ModuleDir()):
			u.Report.Warnf("%s: kernel %s is not on this machine any more; nothing is brought back for it", c.Module, c.Kernel)
			continue
		case !now.Same(c.After):
			errs = append(errs, u.changedSince(c, now))
			continue
		}
		step := plan.Step{Kind: plan.Restore, ID: note.ID, Target: c.Target(), Reason: runWords(u.numbers()) + " is undone", Replaces: now.Version != ""}
		if len(u.runs) > 1 {
			step.Reason = runWords(u.numbers()) + " are undone"
		}
		if c.Before.Version == "" {
			step.Kind, step.ID.Version = plan.Uninstall, c.After.Version
		} else if err := u.source(c); err != nil {
			errs = append(errs, err)
		}
		p.Add(step)
	}
	return p, errors.Join(errs...)
}

// changedSince is the error of a module that has changed after the runs.
func (u *undoing) changedSince(c *history.Change, now history.State) error {
	has := "nothing of it is installed now"
	if now.Version != "" {
		has = fmt.Sprintf("%s is installed now", now.Version)
	}
	err := exit.Errorf(exit.Usage, "%s: kernel %s: changed again after %s: %s", c.Module, c.Kernel, runWords(u.numbers()), has)
	for _, r := range u.all {
		if slices.Contains(u.runs, r) || r.UndoneBy != 0 {
			continue
		}
		if slices.ContainsFunc(r.Changes, func(o *history.Change) bool { return o.Module == c.Module && o.Target() == c.Target() }) {
			return err.WithHint("dkms undo %d comes first", r.Run)
		}
	}
	return err.WithHint("dkms install %s/%s -k %s installs the version of that time", c.Module, c.Before.Version, u.KernelArg(c.Target()))
}

// source finds the build that was installed before a change.
func (u *undoing) source(c *history.Change) error {
	id := tree.ID{Name: c.Module, Version: c.Before.Version}
	sub := machine.Subject{ID: id, Target: c.Target()}
	again := func(err *exit.Error) error {
		return err.WithHint("dkms install --force %s -k %s builds it, if its sources are there", id, u.KernelArg(c.Target()))
	}
	if len(c.Before.Files) == 0 {
		return again(exit.Errorf(exit.Usage, "%s: kernel %s: which files were installed is not on record", id, c.Kernel))
	}
	b := &backTo{}
	for _, f := range c.Before.Files {
		b.files = append(b.files, install.Placed{Path: f.Path, SHA256: f.SHA256})
	}
	m, err := u.Tree.Manifest(id, c.Target())
	dir := u.Tree.BuildDir(id, c.Target())
	if err != nil || !holds(m, b.files) {
		if b.kept, m = u.Tree.KeptBuild(id, c.Target(), func(m *tree.Manifest) bool { return holds(m, b.files) }); m == nil {
			return again(exit.Errorf(exit.NotBuilt, "%s: kernel %s: its build was not kept (keep_builds=%d)", id, c.Kernel, u.Framework.KeepBuilds))
		}
		dir = b.kept
	}
	for _, f := range b.files {
		if err := install.Holds(filepath.Join(dir, "module"), f); err != nil {
			return again(exit.Errorf(exit.NotBuilt, "%s: kernel %s: %w", id, c.Kernel, err))
		}
	}
	k := u.Kernel(c.Target())
	if m.Headers != "" && k.HasHeaders() && build.HeadersStamp(k) != m.HeadersStamp && build.KernelInputs(k, u.Machine.Run) != m.Headers {
		return again(exit.Errorf(exit.Usage, "%s: kernel %s: the headers of the kernel have changed since it was built, so it may not load", id, c.Kernel))
	}
	u.back[sub] = b
	return nil
}

// holds tells whether a manifest lists the files that were installed.
func holds(m *tree.Manifest, files []install.Placed) bool {
	return m != nil && !slices.ContainsFunc(files, func(f install.Placed) bool { return !m.Has(filepath.Base(f.Path), f.SHA256) })
}

// verify warns of what this machine does not take as it is now, although it took
// it once.
func (u *undoing) verify(ctx context.Context) {
	facts, err := u.Facts()
	if err != nil {
		u.Report.Warnf("whether the kernels are safe to boot now is not known: %v", err)
		return
	}
	for _, c := range u.wanted {
		if c.Before.Version == "" {
			u.Report.Warnf("kernel %s has no version of %s now, as before; dkms check -k %s says what that means", c.Kernel, c.Module, u.KernelArg(c.Target()))
			continue
		}
		mod := facts.Module(machine.Subject{ID: tree.ID{Name: c.Module, Version: c.Before.Version}, Target: c.Target()})
		h := mod.Installed()
		if h.OK() && facts.SignaturesRequired(c.Target()) {
			h = facts.Signature(ctx, mod)
		}
		if !h.OK() {
			u.Report.Warnf("%s: kernel %s: %s: %s", mod.ID, c.Kernel, h.State, h.Why())
		}
	}
}
