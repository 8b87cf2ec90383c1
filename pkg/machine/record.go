package machine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dkms/pkg/history"
	"dkms/pkg/install"
	"dkms/pkg/tree"
)

// newRecord begins the record of a run; doing is the text about the caller.
func (w *Writer) newRecord(doing string) *history.Record {
	r := &history.Record{
		Began: w.Host.Now().UTC(), Verb: strings.TrimPrefix(doing, "dkms "), Arguments: history.Public(w.Host.Arguments),
		Steps: []history.Step{}, Changes: []*history.Change{},
	}
	if w.Host.Caller != nil {
		r.Caller = w.Host.Caller()
	}
	return r
}

// Number is the number of this run in the history. It puts the run on record.
func (w *Writer) Number() (int, error) {
	if w.record.Run == 0 {
		if err := w.record.Save(w.Tree); err != nil {
			return 0, err
		}
	}
	return w.record.Run, nil
}

// Touch records, on disk and for the end of the run, that the installed files of
// a package for a kernel change: a crash does not hide that.
func (w *Writer) Touch(s Subject) error {
	known := false
	for _, c := range w.record.Changes {
		known = known || c.Module == s.Name && c.Target() == s.Target
	}
	if !known {
		w.record.Changes = append(w.record.Changes, &history.Change{
			Module: s.Name, Kernel: s.Kernel, Arch: s.Arch, Before: history.StateOf(w.Machine.Tree, s.Name, s.Target), After: history.State{Files: []history.File{}},
		})
		if err := w.record.Save(w.Tree); err != nil {
			return err
		}
	}
	if err := w.Tree.MarkPending(s.Target); err != nil {
		return err
	}
	w.Stale(s.Target)
	return nil
}

// Did records a step of the run, with its error if it failed.
func (w *Writer) Did(step string, id tree.ID, t tree.Target, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record.Steps = append(w.record.Steps, history.Step{
		Step: step, Module: id.Name, Version: id.Version, Kernel: t.Kernel, Arch: t.Arch, Error: history.Short(err),
	})
	w.failed = w.failed || err != nil
}

// DidSay records a step of the run that text describes.
func (w *Writer) DidSay(step string, id tree.ID, t tree.Target, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record.Steps = append(w.record.Steps, history.Step{Step: step, Module: id.Name, Version: id.Version, Kernel: t.Kernel, Arch: t.Arch, Text: text})
}

// Undoes records that this run undoes others.
func (w *Writer) Undoes(runs []int) { w.record.Undoes = runs }

// endRecord completes the record of a run that did something. A record that
// cannot be written is only a warning: the modules are what counts.
func (w *Writer) endRecord(ctx context.Context, err error) {
	r := w.record
	if r.Run == 0 && len(r.Steps) == 0 {
		return
	}
	if w.Unfinished() {
		return
	}
	switch {
	case ctx.Err() != nil:
		r.Outcome, r.Error = history.Interrupted, history.Short(context.Cause(ctx))
	case err != nil:
		r.Outcome, r.Error = history.Failed, history.Short(err)
	case w.failed:
		r.Outcome = history.Failed
	default:
		r.Outcome = history.Done
	}
	if err := w.complete(r); err != nil {
		w.Report.Warnf("what this run has done is not on record for dkms history: %v", err)
	}
}

// Unfinished tells whether the run has left a change that the next run finishes or
// takes back, which then completes the record, too.
func (w *Writer) Unfinished() bool {
	return !w.Tree.Nested() && install.Unfinished(w.Machine.Tree)
}

// complete records what is installed now in the place of what a run changed.
func (w *Writer) complete(r *history.Record) error {
	r.Ended = w.Host.Now().UTC()
	changes := r.Changes
	r.Changes = []*history.Change{}
	for _, c := range changes {
		if c.After = history.StateOf(w.Machine.Tree, c.Module, c.Target()); !c.After.Same(c.Before) {
			r.Changes = append(r.Changes, c)
		}
	}
	return r.Save(w.Tree)
}

// closeRecords completes the records of runs that were killed.
func (w *Writer) closeRecords() {
	list, _, err := history.List(w.Machine.Tree)
	for _, r := range list {
		if r.Ended.IsZero() {
			r.Outcome = history.Interrupted
			err = errors.Join(err, w.takeBackHolds(r), w.complete(r)) // a complete record is not looked at again
		}
	}
	if err != nil {
		w.Report.Warnf("the record of an interrupted run is not complete: %v", err)
	}
}

// takeBackHolds takes the holds of an interrupted undo back where the version is
// still installed: it was not undone there.
func (w *Writer) takeBackHolds(r *history.Record) error {
	var errs []error
	for _, n := range r.Undoes {
		undone, err := history.Read(w.Machine.Tree, n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, c := range undone.Changes {
			if v := c.After.Version; v != "" && v == w.Tree.Active(c.Module, c.Target()) {
				errs = append(errs, w.Tree.ForgetHold(tree.ID{Name: c.Module, Version: v}, c.Target()))
			}
		}
	}
	return errors.Join(errs...)
}

// HeldBack is why a version with a hold is not installed on its own account.
func HeldBack(h *tree.Hold, version string) string {
	return fmt.Sprintf("%s is held back: run %d has undone its installation", version, h.Run)
}

// Held is the hold on a version for a kernel, or nil: a hold ends when the
// sources change.
func (f *Facts) Held(s Subject) *tree.Hold {
	mod := f.Module(s)
	h := f.m.Tree.Hold(s.ID, s.Target)
	if h == nil || mod.State != tree.Added {
		return h
	}
	if changed, err := mod.changedSince(h.Sources, h.SourcesStamp); changed || err != nil {
		return nil
	}
	return h
}

// heldBack is why a version is not installed on its own account, and the next
// step; both are empty if nothing holds it back.
func heldBack(f *Facts, s Subject) (why, hint string) {
	h := f.Held(s)
	if h == nil {
		return "", ""
	}
	return HeldBack(h, s.Version), "dkms install " + s.ID.String() + " -k " + f.m.KernelArg(s.Target) + " installs it all the same"
}
