package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Writer is the tree in the hands of the one process that may change it. Only
// [Tree.Lock] makes a Writer, so whoever has one holds the lock.
//
// A package's script may run dkms again while the run that started the script
// holds the lock. The inner run gets a Writer of the next level: it waits until
// no build of the outer run is under way, and the outer run starts none until
// the inner run has ended.
type Writer struct {
	*Tree
	// Left is what the last writer was doing, if that writer did not come to its
	// end, or the note that it unlocked with.
	Left string

	level  int
	unlock func(note string)
}

// lockName is hidden, so that the original's listing passes over it. Levels
// above 0 have their number behind it.
const lockName = ".lock"

func (t *Tree) lockPath(level int) string {
	if level == 0 {
		return filepath.Join(t.dir, lockName)
	}
	return filepath.Join(t.dir, fmt.Sprintf("%s%d", lockName, level))
}

// buildsUnderWay is what a run of a script waits for where the holder of a
// lock does not name itself.
const buildsUnderWay = "the builds that are under way"

// Lock makes the caller the only writer of the tree. doing is what the lock
// says of the caller; waiting is called once with the holder while somebody
// else holds the lock. The wait ends with ctx; where a deadline of ctx ends it,
// the error names the holder.
func (t *Tree) Lock(ctx context.Context, doing string, waiting func(holder string)) (*Writer, error) {
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return nil, t.lockError(err)
	}
	for level := 0; ; level++ {
		w, err := t.lockLevel(ctx, level, doing, waiting)
		if !errors.Is(err, errAncestor) {
			return w, t.lockError(err)
		}
	}
}

// errAncestor says that the lock is held by a run that, through a script of a
// module package, has started this one and waits for it.
var errAncestor = errors.New("held by a run that waits for this one")

func (t *Tree) lockLevel(ctx context.Context, level int, doing string, waiting func(holder string)) (*Writer, error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	unlock, left, err := system.Lock(ctx, t.lockPath(level), doing+holderMark(os.Getpid()), func(holder string) {
		// A writer names itself. The builds of a run, which share the lock of the
		// next level, do not: they are waited for, whoever runs them.
		unnamed := strings.HasPrefix(holder, system.UnknownHolder)
		switch {
		case !unnamed && startedBy(holder):
			giveUp(errAncestor)
			return
		case unnamed && level > 0:
			holder = buildsUnderWay
		}
		waiting(holder)
	})
	if err != nil {
		return nil, err
	}
	return &Writer{Tree: t, Left: left, level: level, unlock: unlock}, nil
}

func (t *Tree) lockError(err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return exit.Errorf(exit.Usage, "%s is not writable: %w", t.dir, err).WithHint("run this as root")
	}
	if held, ok := errors.AsType[*system.HeldError](err); ok && errors.Is(held, context.DeadlineExceeded) {
		return exit.Errorf(exit.Usage, "%w", held).WithHint("run this again when %s has ended", held.Holder)
	}
	return err
}

// Unlock gives the tree back, with a note for the next writer; an empty note
// says that everything ended well.
func (w *Writer) Unlock(note string) { w.unlock(note) }

// Nested tells whether a script of another run has started this one. What that
// run has left unfinished is its own business.
func (w *Writer) Nested() bool { return w.level > 0 }

// Building says that a build is under way, until done is called. While a
// script runs dkms, Building waits for that inner run to end.
func (w *Writer) Building(ctx context.Context) (done func(), err error) {
	return system.LockShared(ctx, w.lockPath(w.level+1))
}

// Busy tells whether there is a writer, or was one that did not end well.
func (t *Tree) Busy() bool {
	st, err := os.Lstat(t.lockPath(0))
	return err == nil && st.Size() > 0
}

func holderMark(pid int) string { return fmt.Sprintf(" (process %d)", pid) }

// startedBy tells whether the holder of a lock is an ancestor of this process.
func startedBy(holder string) bool {
	for pid := os.Getppid(); pid > 1; {
		if strings.HasSuffix(holder, holderMark(pid)) {
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
