package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// Lock takes the exclusive lock on the file path, which is created where it
// is missing. While another process holds it, waiting is called once with
// what that process said of itself. The kernel drops the lock with the
// process, so there is no stale one. If the last holder ended without
// unlocking, left is what it said of itself; otherwise it is the note that it
// unlocked with.
func Lock(ctx context.Context, path, self string, waiting func(holder string)) (unlock func(note string), left string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, "", err
	}
	if err := flock(ctx, f, unix.LOCK_EX, waiting); err != nil {
		f.Close()
		return nil, "", fmt.Errorf("%s: %w", path, err)
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
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f, unix.LOCK_SH, func(string) {}); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// lockPoll is how often a waiting process looks whether it was told to stop.
const lockPoll = 50 * time.Millisecond

func flock(ctx context.Context, f *os.File, how int, waiting func(string)) error {
	told := false
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if !told {
			waiting(holder(f))
			told = true
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// UnknownHolder is the holder of a lock who does not say who that is.
const UnknownHolder = "another process"

func holder(f *os.File) string {
	buf := make([]byte, 256)
	n, _ := f.ReadAt(buf, 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	if line == "" || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return UnknownHolder
	}
	return line
}
