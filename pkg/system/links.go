package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Resolve follows the links of an absolute path whose last parts need not exist.
// A link that somebody else has put into a directory for everybody, such as
// /tmp, is an error: it leads root wherever its owner likes. The rule is that of
// the kernel's protected_symlinks (sysctl fs), which is not in force everywhere.
func Resolve(path string) (string, error) {
	at, rest := "/", parts(path)
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		st, err := os.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			return filepath.Join(next, filepath.Join(rest...)), nil
		}
		if err != nil {
			return "", err
		}
		if st.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if err := trap(at, next, st); err != nil {
			return "", err
		}
		if links++; links > 40 { // as many as the kernel follows, path_resolution(7)
			return "", &fs.PathError{Op: "open", Path: path, Err: unix.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = slices.Concat(parts(target), rest)
	}
	return at, nil
}

// parts are the names in a path. ".." stays: behind a link it leads elsewhere.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// trap is the error of a link in a directory for everybody that is neither the
// caller's nor that of the directory's owner.
func trap(dir, link string, st fs.FileInfo) error {
	at, err := os.Stat(dir)
	if err != nil {
		return err
	}
	forAll := at.Mode()&fs.ModeSticky != 0 && at.Mode()&0o002 != 0
	if uid := owner(st); forAll && uid != os.Geteuid() && uid != owner(at) {
		return fmt.Errorf("%s: a link of another user (%d) in a directory for everybody", link, uid)
	}
	return nil
}

func owner(st fs.FileInfo) int {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid)
	}
	return -1
}
