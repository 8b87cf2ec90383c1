package build

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"dkms/pkg/tree"
)

// RunningLogs lists the logs of a version that a build writes now.
func RunningLogs(t *tree.Tree, id tree.ID) (list []string) {
	for _, path := range scratchLogs(t, id) {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if Writing(f) {
			list = append(list, path)
		}
		f.Close()
	}
	return list
}

// HiddenLogs tells whether the caller may not look for a log of a version.
func HiddenLogs(t *tree.Tree, id tree.ID) bool {
	for _, path := range scratchLogs(t, id) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrPermission) {
			return true
		}
	}
	return false
}

// Running is the build that writes the log path.
func Running(t *tree.Tree, id tree.ID, path string) (Attempt, bool) {
	return scratchAttempt(t, id, path)
}

// Writing tells whether a build still writes the log f: it holds a lock on its
// log until the result is in the tree.
func Writing(f *os.File) bool {
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

func scratchLogs(t *tree.Tree, id tree.ID) []string {
	list := []string{t.ScratchLog(id)}
	for _, dir := range t.PrivateDirs(id) {
		list = append(list, privateLog(dir))
	}
	return list
}
