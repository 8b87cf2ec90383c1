package build

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// diskPause is the time between two checks of the disk while a build runs.
const diskPause = 500 * time.Millisecond

// diskError says that a build used more of the disk than it may.
type diskError struct{ limit int }

func (e *diskError) Error() string {
	return fmt.Sprintf("more than %d MiB of the disk were taken while it ran (build_disk_limit)", e.limit)
}

// watchDisk ends the commands of a confined build that uses too much of the
// disk.
func (w *work) watchDisk(ctx context.Context) (context.Context, func()) {
	if w.scratch.private == "" {
		return ctx, func() {}
	}
	return watchDisk(ctx, w.scratch.private, w.Confine.Disk)
}

// watchDisk cancels the context that it returns when the file system of dir has
// lost more than limit MiB since the call. The use of the whole file system is
// measured, because files without a name use space, too, and cannot be counted
// in the directory. The caller must call stop.
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
