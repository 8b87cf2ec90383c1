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

// HeldError says that a lock was not taken because another process has it.
type HeldError struct {
	Path string
	// Holder is what that process said of itself, or what the system knows.
	Holder string
	// Err is why the wait ended: the cause of the context.
	Err error
}

func (e *HeldError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("%s: held by %s, which did not end in time", e.Path, e.Holder)
	}
	return fmt.Sprintf("%s: %v while waiting for %s", e.Path, e.Err, e.Holder)
}

// Unwrap gives the cause to [errors.Is] and [errors.As].
func (e *HeldError) Unwrap() error { return e.Err }

// lockMode keeps everybody else from opening a lock file: who can open it can
// hold it, and so stop whoever needs it.
const lockMode fs.FileMode = 0o600

// Lock takes the exclusive lock on the file path, which is created where it
// is missing and can be opened by its owner only. While another process holds
// it, waiting is called once with what that process said of itself; the wait
// ends with ctx, and a deadline of ctx bounds it: then the error is a
// [HeldError]. The kernel drops the lock with the process, so there is no stale
// one. If the last holder ended without unlocking, left is what it said of
// itself; otherwise it is the note that it unlocked with.
func Lock(ctx context.Context, path, self string, waiting func(holder string)) (unlock func(note string), left string, err error) {
	f, err := lockFile(ctx, path, waiting)
	if err != nil {
		return nil, "", err
	}
	if st, err := f.Stat(); err == nil && st.Size() > 0 {
		left = holder(f)
	}
	// What is written is for whoever waits or comes after a crash; without it
	// they know less, and that is all.
	if f.Truncate(0) == nil {
		f.WriteAt([]byte(self+"\n"), 0)
		f.Sync()
	}
	return func(note string) {
		if f.Truncate(0) == nil && note != "" {
			f.WriteAt([]byte(note+"\n"), 0)
		}
		f.Close()
	}, left, nil
}

// LockShared takes a lock on the file path that [Lock] excludes and other calls
// of LockShared do not. The file is created where it is missing.
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

// LockBriefly is [Lock] for a lock file that nothing is left of afterwards.
func LockBriefly(ctx context.Context, path, self string) (unlock func(), err error) {
	free, _, err := Lock(ctx, path, self, func(string) {})
	if err != nil {
		return nil, err
	}
	return func() {
		os.Remove(path) // while it is held: nobody else's file has the name
		free("")
	}, nil
}

// lockFile opens and locks the file that has the name path when the lock is
// taken: another process may delete or replace it during the wait.
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

// replaceLock replaces a lock file that a stranger opened while that was
// possible, and would hold for ever: a new file with the same text has no old
// holders. A second lock, which was never open to strangers, keeps two processes
// from doing so one after the other, since the second would replace the new
// file.
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

// openLock opens a lock file. loose says that others could open it until now.
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

// named tells whether f is the file of the name path.
func named(f *os.File, path string) bool {
	own, errOwn := f.Stat()
	there, errThere := os.Lstat(path)
	return errOwn == nil && errThere == nil && os.SameFile(own, there)
}

// lockPoll is how often a waiting process looks whether it was told to stop.
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

// UnknownHolder is the holder of a lock who does not say who that is.
const UnknownHolder = "another process"

// maxHolder bounds the text of a lock file, in bytes.
const maxHolder = 256

// holder is the first line of a lock file, or what the system knows of the
// process that holds it.
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
// another user than the file does.
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

// Held tells whether another process holds the lock on the file path. Who may
// not open the file asks the system instead.
func Held(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		st, err := os.Lstat(path)
		return err == nil && flockHolder(st) > 0
	}
	if err != nil {
		return false
	}
	defer f.Close() // and with it the lock
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// flockHolder is the process that /proc/locks names for the lock on a file, or
// 0. Its lines are "1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF"
// (proc_locks(5)); the device numbers are hexadecimal. Some file systems have
// others there than stat(2) tells, so that the inode decides where no line has
// both.
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
