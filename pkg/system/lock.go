package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// HeldError says that a lock was not taken because another process holds it.
type HeldError struct {
	Path string
	// Holder is the text of the lock file about that process, or what the
	// system knows about it.
	Holder string
	// Err is the cause of the context that ended the wait.
	Err error
}

func (e *HeldError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("%s: held by %s, which did not end in time", e.Path, e.Holder)
	}
	return fmt.Sprintf("%s: %v while waiting for %s", e.Path, e.Err, e.Holder)
}

// Unwrap returns the cause for [errors.Is] and [errors.As].
func (e *HeldError) Unwrap() error { return e.Err }

// lockMode lets only the owner open a lock file: whoever can open the file can
// hold the lock, and so block everybody who needs it.
const lockMode fs.FileMode = 0o600

// Lock takes the exclusive lock on the file path. Lock creates a missing file,
// and only the owner can open it. While another process holds the lock, waiting
// is called once with the text of that process. The wait ends with ctx; if a
// deadline of ctx ends it, the error is a [HeldError]. The kernel releases the
// lock when the process ends, so that there are no stale locks. If the last
// holder ended without unlocking, left is its text; otherwise left is the note
// that it unlocked with.
func Lock(ctx context.Context, path, self string, waiting func(holder string)) (unlock func(note string), left string, err error) {
	f, err := lockFile(ctx, path, waiting)
	if err != nil {
		return nil, "", err
	}
	if st, err := f.Stat(); err == nil && st.Size() > 0 {
		left = holder(f)
	}
	// The text informs processes that wait, or that run after a crash. A
	// failure to write it does no other harm.
	if rewrite(f, self+"\n") == nil {
		f.Sync()
	}
	return func(note string) {
		if note != "" {
			note += "\n"
		}
		rewrite(f, note)
		f.Close()
	}, left, nil
}

// rewrite gives a lock file another text. The file is never empty on the way,
// because that would say that the last holder has ended well.
func rewrite(f *os.File, text string) error {
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// LockShared takes a shared lock on the file path: it excludes [Lock], but not
// other calls of LockShared. LockShared creates a missing file.
func LockShared(ctx context.Context, path string) (unlock func(), err error) {
	f, _, err := openLock(path)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f, unix.LOCK_SH, false, func(string) {}); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// LockBriefly is [Lock] with a lock file that is deleted afterwards.
func LockBriefly(ctx context.Context, path, self string) (unlock func(), err error) {
	free, _, err := Lock(ctx, path, self, func(string) {})
	if err != nil {
		return nil, err
	}
	return func() {
		os.Remove(path) // while the lock is held, no other process's file has the name
		free("")
	}, nil
}

// lockFile opens and locks the file that has the name path when the lock is
// taken: another process may delete or replace the file during the wait.
func lockFile(ctx context.Context, path string, waiting func(string)) (*os.File, error) {
	told := false
	tell := func(holder string) {
		if !told {
			told = true
			waiting(holder)
		}
	}
	for {
		f, loose, err := openLock(path)
		if err != nil {
			return nil, err
		}
		err = flock(ctx, f, unix.LOCK_EX, loose, tell)
		if err == nil && named(f, path) {
			return f, nil
		}
		if errors.Is(err, errOtherUser) {
			err = replaceLock(ctx, f, path)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// replaceLock replaces a lock file that other users could open. Such a user may
// have opened the file and could hold its lock for ever; a new file with the
// same text has no old holders. A second lock file, which other users could
// never open, prevents two processes from doing this one after the other, since
// the second process would replace the new file.
func replaceLock(ctx context.Context, f *os.File, path string) error {
	unlock, err := LockBriefly(ctx, path+".new", "replacing "+path)
	if err != nil {
		return err
	}
	defer unlock()
	if !named(f, path) {
		return nil
	}
	text, err := ReadRegular(path, maxHolder)
	if err != nil {
		text = nil
	}
	return WriteFile(path, text, lockMode)
}

// openLock opens a lock file. loose says that other users could open the file
// until now.
func openLock(path string) (f *os.File, loose bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, lockMode)
	if err != nil {
		return nil, false, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case !st.Mode().IsRegular():
		err = fmt.Errorf("%s: not a regular file", path)
	case st.Mode().Perm()&^lockMode != 0:
		loose, err = true, f.Chmod(lockMode)
	}
	if err != nil {
		f.Close()
		return nil, false, err
	}
	return f, loose, nil
}

// named tells whether path is the name of f.
func named(f *os.File, path string) bool {
	own, errOwn := f.Stat()
	there, errThere := os.Lstat(path)
	return errOwn == nil && errThere == nil && os.SameFile(own, there)
}

// lockPoll is the time between two checks of ctx during a wait.
const lockPoll = 50 * time.Millisecond

// errOtherUser says that the lock is held by a process of a user who may not
// open the lock file.
var errOtherUser = errors.New("held by another user")

func flock(ctx context.Context, f *os.File, how int, loose bool, waiting func(string)) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if loose && heldByOtherUser(f) {
			return errOtherUser
		}
		waiting(holder(f))
		select {
		case <-ctx.Done():
			return &HeldError{f.Name(), holder(f), context.Cause(ctx)}
		case <-time.After(lockPoll):
		}
	}
}

// UnknownHolder stands for a holder of a lock that does not name itself.
const UnknownHolder = "another process"

// maxHolder bounds the text of a lock file, in bytes.
const maxHolder = 256

// holder is the first line of a lock file, or what the system knows about the
// process that holds the lock.
func holder(f *os.File) string {
	buf := make([]byte, maxHolder)
	n, _ := f.ReadAt(buf, 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	if line != "" && !strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return line
	}
	st, err := f.Stat()
	if err != nil {
		return UnknownHolder
	}
	if pid := flockHolder(st); pid > 0 {
		return fmt.Sprintf("%s (process %d)", UnknownHolder, pid)
	}
	return UnknownHolder
}

// heldByOtherUser tells whether the process that holds the lock on f belongs to
// another user than the file.
func heldByOtherUser(f *os.File) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	pid := flockHolder(st)
	proc, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if pid == 0 || err != nil {
		return false
	}
	return owner(proc) != owner(st)
}

// Held tells whether another process holds the lock on the file path. If the
// caller may not open the file, Held asks the system instead.
func Held(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		st, err := os.Lstat(path)
		return err == nil && flockHolder(st) > 0
	}
	if err != nil {
		return false
	}
	defer f.Close() // also releases the lock
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// flockHolder is the process that holds the lock on a file according to
// /proc/locks, or 0. Lines there are "1: FLOCK ADVISORY WRITE PID
// MAJOR:MINOR:INODE 0 EOF" (proc_locks(5)); the device numbers are hexadecimal.
// On some file systems, the device numbers differ from those of stat(2), so
// that the inode decides if no line matches both.
func flockHolder(st fs.FileInfo) int {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	dev := uint64(sys.Dev) // 32 bits on MIPS
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), sys.Ino)
	inode := fmt.Sprintf(":%d", sys.Ino)
	locks, _ := os.ReadFile("/proc/locks")
	likely := 0
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" {
			continue
		}
		pid, err := strconv.Atoi(f[4])
		switch {
		case err != nil || pid <= 0:
		case f[5] == want:
			return pid
		case strings.HasSuffix(f[5], inode):
			likely = pid
		}
	}
	return likely
}
