package build

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// diskPause is how often the disk is looked at while a build runs.
const diskPause = 500 * time.Millisecond

// diskError says that a build took more of the disk than it may.
type diskError struct{ limit int }

func (e *diskError) Error() string {
	return fmt.Sprintf("more than %d MiB of the disk were taken while it ran (build_disk_limit)", e.limit)
}

// watchDisk ends what a confined build runs when it takes too much of the disk.
func (w *work) watchDisk(ctx context.Context) (context.Context, func()) {
	if w.scratch.private == "" {
		return ctx, func() {}
	}
	return watchDisk(ctx, w.scratch.private, w.Confine.Disk)
}

// watchDisk ends the context that it returns when the file system of dir has
// lost more than limit MiB since it was called. What a build takes cannot be
// counted in its directory: files without a name take room, too. stop is to be
// called.
func watchDisk(ctx context.Context, dir string, limit int) (watched context.Context, stop func()) {
	watched, end := context.WithCancelCause(ctx)
	before, err := freeSpace(dir)
	if limit == 0 || err != nil {
		return watched, func() { end(nil) }
	}
	ticks := time.NewTicker(diskPause)
	go func() {
		defer ticks.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-ticks.C:
			}
			if now, err := freeSpace(dir); err == nil && before-now > int64(limit)<<20 {
				end(&diskError{limit})
			}
		}
	}()
	return watched, func() { end(nil) }
}

// freeSpace is how many bytes of a file system are free.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bfree) * int64(st.Bsize), nil
}
