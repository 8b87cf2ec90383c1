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

// Writer is the tree as seen by the one process that may change it. Only
// [Tree.Lock] makes a Writer, so whoever has one holds the lock.
//
// A package's script may run dkms again while the run that started the script
// holds the lock. The inner run gets a Writer of the next level: it waits until
// no build of the outer run is in progress, and the outer run starts no build
// until the inner run has ended.
type Writer struct {
	*Tree
	// Left describes what the last writer was doing, if that writer was
	// interrupted, or is the note that the last writer unlocked with.
	Left string
	// KeepBuilds is how many previous builds of a package for a target are kept:
	// those that were installed and are not in the tree any more.
	KeepBuilds int

	level  int
	unlock func(note string)
}

// lockName is hidden, so that the listing of the original ignores the file. The
// lock files of levels above 0 have the level as a suffix.
const lockName = ".lock"

func (t *Tree) lockPath(level int) string {
	if level == 0 {
		return filepath.Join(t.dir, lockName)
	}
	return filepath.Join(t.dir, fmt.Sprintf("%s%d", lockName, level))
}

// buildsUnderWay is what a run of a script waits for if the holder of a lock
// does not name itself.
const buildsUnderWay = "the builds that are under way"

// Lock makes the caller the only writer of the tree. doing is the text that the
// lock file has about the caller. While somebody else holds the lock, waiting
// is called once with the holder. The wait ends with ctx; if a deadline of ctx
// ends the wait, the error names the holder.
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

// errAncestor says that the run that holds the lock has started this run,
// through a script of a module package, and waits for this run.
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
	if errors.Is(err, unix.EROFS) {
		return exit.Errorf(exit.Usage, "%s is not writable: %w", t.dir, err).WithHint("dkms_tree in /etc/dkms/framework.conf names a directory that is")
	}
	if errors.Is(err, fs.ErrPermission) {
		return exit.Errorf(exit.Usage, "%s is not writable: %w", t.dir, err).WithHint("run this as root")
	}
	if held, ok := errors.AsType[*system.HeldError](err); ok && errors.Is(held, context.DeadlineExceeded) {
		return exit.Errorf(exit.Usage, "%w", held).WithHint("run this again when %s has ended", held.Holder)
	}
	return err
}

// Unlock releases the tree and leaves a note for the next writer; an empty note
// says that everything ended well.
func (w *Writer) Unlock(note string) { w.unlock(note) }

// Nested tells whether a script of another run has started this run. Unfinished
// changes of that outer run must be left alone.
func (w *Writer) Nested() bool { return w.level > 0 }

// Building says that a build is in progress, until done is called. While a
// script runs dkms, Building waits for that inner run to end.
func (w *Writer) Building(ctx context.Context) (done func(), err error) {
	return system.LockShared(ctx, w.lockPath(w.level+1))
}

// Busy tells whether there is a writer, or the last writer was interrupted.
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
