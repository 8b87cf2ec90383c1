package machine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/history"
	"dkms/pkg/install"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Writer is the machine as seen by the one run that may change it.
type Writer struct {
	*Machine
	// Tree is the dkms tree, which only the Writer can change.
	Tree      *tree.Writer
	Installer *install.Installer
	// Depmod says that this run updates module indexes; otherwise the caller
	// updates them.
	Depmod bool

	mu      sync.Mutex
	stale   map[tree.Target]bool // targets whose module index is out of date
	trouble bool                 // the system, not a module, made a step fail

	record *history.Record
	failed bool // a step has failed
}

// failedNote is the unlock note of a run that had errors of the system and may
// have left files behind: the next run checks for them.
const failedNote = "failed"

// Lock waits until nobody else changes the machine, and then finishes or undoes
// interrupted changes. doing describes the caller to others who wait. The
// caller must call [Writer.Close].
func (m *Machine) Lock(ctx context.Context, doing string) (*Writer, error) {
	if of := m.Host.Env[build.Mark]; of != "" {
		return nil, exit.Errorf(exit.Usage, "dkms cannot change modules from within the build of %s, which waits for it", of).
			WithHint("call dkms from POST_INSTALL")
	}
	wait := ctx
	if m.Settings.LockWait > 0 {
		var stop context.CancelFunc
		wait, stop = context.WithTimeout(ctx, m.Settings.LockWait)
		defer stop()
	}
	t, err := m.Tree.Lock(wait, doing, func(holder string) { m.Report.Progressf("waiting for %s to finish", holder) })
	if err != nil {
		return nil, err
	}
	w := &Writer{Machine: m, Tree: t, Depmod: true, stale: map[tree.Target]bool{}}
	t.KeepBuilds = m.Framework.KeepBuilds
	w.record = w.newRecord(doing)
	w.Installer = &install.Installer{
		Tree: t, Report: m.Report, Run: m.Run, Now: m.Host.Now, Dated: m.Host.Epoch, Distribution: m.Distribution, ID: conf.DistributionID(m.Host.Root),
		Addon: m.Host.Env["ADDON_MODULES_DIR"], Symlink: m.Settings.Symlink || m.Framework.SymlinkModules,
		DepmodProgram: m.Framework.Depmod == "program",
	}
	if t.Nested() { // the outer run is still working on its unfinished changes
		return w, nil
	}
	if err := w.recover(); err != nil {
		t.Unlock(failedNote)
		return nil, err
	}
	return w, nil
}

// Close updates the module indexes that are still out of date, and lets others
// change the machine. err is the error of the run; Close returns it together
// with its own errors.
func (w *Writer) Close(ctx context.Context, err error) error {
	if w.anyStale() {
		if ctx.Err() != nil {
			w.Report.Progressf("what was installed so far is put into the module index")
		}
		err = errors.Join(err, w.Index(context.WithoutCancel(ctx)))
	}
	w.endRecord(ctx, err)
	if w.trouble || IsTrouble(err) {
		w.Tree.Unlock(failedNote)
	} else {
		w.Tree.Unlock("")
	}
	return err
}

func (w *Writer) anyStale() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.stale) > 0
}

// Trouble records that the system, not a module, made a step fail.
func (w *Writer) Trouble() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble = true
}

// IsTrouble distinguishes errors of the system from refusals.
func IsTrouble(err error) bool {
	_, ok := errors.AsType[syscall.Errno](err)
	return ok
}

// Stale records that the module index of a target is out of date.
func (w *Writer) Stale(t tree.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stale[t] = true
}

// Fresh cancels Stale for a target whose index somebody else updates.
func (w *Writer) Fresh(t tree.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.stale, t)
	w.Tree.ClearPending(t)
}

// Index runs depmod once for every kernel whose index is out of date. If depmod
// fails, the mark on disk stays for the next run.
func (w *Writer) Index(ctx context.Context) error {
	var errs []error
	done := map[string]error{}
	for _, t := range slices.SortedFunc(maps.Keys(w.stale), func(a, b tree.Target) int { return strings.Compare(a.String(), b.String()) }) {
		err, again := done[t.Kernel]
		switch {
		case again:
		case !w.Depmod:
			w.Report.Detailf("kernel %s: depmod is left to the caller (--no-depmod)", t.Kernel)
		default:
			err = w.Installer.Depmod(ctx, w.Kernel(t))
			errs = append(errs, err)
		}
		done[t.Kernel] = err
		if ctx.Err() != nil {
			break // Close indexes the remaining kernels
		}
		delete(w.stale, t)
		if err == nil {
			errs = append(errs, w.Tree.ClearPending(t))
		}
	}
	return errors.Join(errs...)
}

// recover finishes or undoes interrupted changes, before anything else is
// changed.
func (w *Writer) recover() error {
	left := w.Tree.Left
	if left != "" && left != failedNote {
		w.Report.Warnf("%s did not come to its end; what it has left is cleaned up", left)
	}
	unfinished := install.Unfinished(w.Machine.Tree)
	if unfinished {
		if err := w.recoverJournal(); err != nil {
			return fmt.Errorf("an interrupted run could not be cleaned up: %w", err)
		}
	}
	pending := w.Tree.Pending()
	for _, t := range pending {
		w.Stale(t)
	}
	if left != "" || unfinished || len(pending) > 0 {
		w.sweep(pending)
	}
	if left != "" {
		w.closeRecords()
	}
	return nil
}

// recoverJournal finishes or undoes an interrupted change of modules. It sets
// aside a journal that cannot be followed. Its effects are then found, like any
// damage, by comparing the installed files with the manifests.
func (w *Writer) recoverJournal() error {
	id, t, err := w.Installer.Recover()
	switch {
	case errors.Is(err, install.ErrJournal):
		aside, asideErr := install.SetAside(w.Tree)
		if asideErr == nil {
			w.Report.Warnf("%v; it is kept as %s", err, aside)
		}
		return asideErr
	case err == nil && w.Tree.Active(id.Name, t) == id.Version:
		w.Tree.ForgetFailure(id, t)
	}
	return err
}

// sweep deletes staged files that nobody needs any more. pending are the
// kernels with a pending mark: a kernel gets that mark before its modules
// change.
func (w *Writer) sweep(pending []tree.Target) {
	swept := w.Tree.Sweep()
	for _, t := range pending {
		swept = append(swept, w.Installer.Sweep(t.Kernel)...)
	}
	for _, dir := range system.Glob(w.Host.Root.SourceTree(), SourceStage+"*") {
		if !strings.HasSuffix(dir, ".old") && os.RemoveAll(dir) == nil { // see system.SwapDir
			swept = append(swept, dir)
		}
	}
	for _, path := range swept {
		w.Report.Detailf("deleted %s, which an interrupted run has left", path)
	}
}

// SourceStage is the prefix of staged sources in the source tree.
const SourceStage = system.StagePrefix + "source."
