package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"dkms/pkg/install"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// locking runs do as the only writer of the tree.
func (e *Engine) locking(ctx context.Context, req *Request, do func() error) (err error) {
	ctx.Done() // autoinstall has something to do
	if e.locked || req.DryRun {
		return do()
	}
	lockCtx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	unlock, left, err := e.tree.Lock(lockCtx, "dkms "+string(req.Verb), func(holder string) {
		if startedBy(holder) {
			giveUp(errNested)
			return
		}
		e.report.Progressf("waiting for %s to finish", holder)
	})
	switch {
	case errors.Is(err, errNested):
		return do()
	case err != nil:
		return err
	}
	e.locked = true
	defer func() {
		e.locked = false
		if e.untidy || isTrouble(err) {
			unlock(untidy)
			return
		}
		unlock("")
	}()
	if err := e.recover(left); err != nil {
		return err
	}
	err = do()
	if len(e.depmod) > 0 {
		if ctx.Err() != nil {
			e.report.Progressf("what was installed so far is put into the module index")
		}
		err = errors.Join(err, e.runDepmod(context.WithoutCancel(ctx), req))
	}
	return err
}

// errNested says that the lock is held by the run that, through a script of a
// module package, has started this one: it waits for us.
var errNested = errors.New("called by the run that holds the lock")

// startedBy tells whether the holder of the lock is an ancestor of this
// process.
func startedBy(holder string) bool {
	for pid := os.Getppid(); pid > 1; {
		if tree.HolderIs(holder, pid) {
			return true
		}
		parent, _, err := system.ProcessStat(pid)
		if err != nil {
			return false
		}
		pid = parent
	}
	return false
}

// untidy is what a run unlocks with that had trouble with files, and may have
// left some of its own: the next one looks.
const untidy = "failed"

// isTrouble tells errors of the system from refusals.
func isTrouble(err error) bool {
	_, ok := errors.AsType[syscall.Errno](err)
	return ok
}

// recover finishes or undoes what interrupted runs have left, before anything
// else is changed. left is what the last one was doing, if it was interrupted.
func (e *Engine) recover(left string) error {
	if left != "" && left != untidy {
		e.report.Warnf("%s did not come to its end; what it has left is cleaned up", left)
	}
	unfinished := install.Unfinished(e.tree)
	if unfinished {
		id, t, err := e.installer.Recover()
		switch {
		case errors.Is(err, install.ErrJournal):
			err = e.setAside(err)
		case err == nil && e.tree.Active(id.Name, t) == id.Version:
			e.tree.ForgetFailure(id, t)
		}
		if err != nil {
			return fmt.Errorf("an interrupted run could not be cleaned up: %w", err)
		}
	}
	pending := e.tree.Pending()
	for _, t := range pending {
		e.stale(t)
	}
	if left != "" || unfinished || len(pending) > 0 {
		e.sweep(pending)
	}
	return nil
}

// setAside gets a journal out of the way that says nothing that can be done.
// What it was about is found out by comparing what is installed with what is
// on record, as after any damage.
func (e *Engine) setAside(why error) error {
	aside, err := install.SetAside(e.tree)
	if err == nil {
		e.report.Warnf("%v; it is kept as %s", why, aside)
	}
	return err
}

// sweep deletes staged files that nobody will need any more. Before the
// modules of a kernel change it is marked as pending.
func (e *Engine) sweep(pending []tree.Target) {
	swept := e.tree.Sweep()
	for _, t := range pending {
		swept = append(swept, e.installer.Sweep(t.Kernel)...)
	}
	sources, _ := filepath.Glob(filepath.Join(e.host.Root.SourceTree(), sourceStage+"*"))
	for _, dir := range sources {
		if !strings.HasSuffix(dir, ".old") && os.RemoveAll(dir) == nil { // see system.SwapDir
			swept = append(swept, dir)
		}
	}
	for _, path := range swept {
		e.report.Detailf("deleted %s, which an interrupted run has left", path)
	}
}

// stale notes that the module index of a target is out of date.
func (e *Engine) stale(t tree.Target) {
	e.kernel(t)
	e.depmod[t.String()] = true
}
