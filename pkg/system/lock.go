package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Lock takes the exclusive lock on the file path, which is created where it
// is missing. While another process holds it, waiting is called once with
// what that process said of itself. The kernel drops the lock with the
// process, so there is no stale one.
func Lock(ctx context.Context, path, self string, waiting func(holder string)) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f, waiting); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// What is written is only for the message of whoever waits.
	if f.Truncate(0) == nil {
		f.WriteAt([]byte(self+"\n"), 0)
	}
	return func() {
		f.Truncate(0)
		f.Close()
	}, nil
}

// lockPoll is how often a waiting process looks whether it was told to stop.
const lockPoll = 50 * time.Millisecond

func flock(ctx context.Context, f *os.File, waiting func(string)) error {
	told := false
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
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

func holder(f *os.File) string {
	buf := make([]byte, 256)
	n, _ := f.ReadAt(buf, 0)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	if line == "" {
		return "another process"
	}
	return line
}
