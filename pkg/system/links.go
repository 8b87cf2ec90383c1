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

// Resolve follows the links of an absolute path, whose last parts need not
// exist. If somebody else has put a link into a world-writable directory such
// as /tmp, the link is an error, because it would lead root wherever its owner
// likes. The rule is that of the kernel's protected_symlinks (sysctl fs), which
// is not enabled everywhere.
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
		if links++; links > 40 { // the limit of the kernel, path_resolution(7)
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

// parts are the names in a path. parts keeps "..", since ".." after a link
// leads elsewhere.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// trap is the error of a link in a world-writable directory that belongs
// neither to the caller nor to the owner of the directory.
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

// ReadOwn is [ReadRegular] for a file of a package: a link may lead to any file,
// but not have root read what others may not. What such a file says ends up in
// messages and in records that everybody can read.
func ReadOwn(path string, limit int64) ([]byte, error) {
	data, err := readRegular(path, limit, unix.O_NOFOLLOW)
	if !errors.Is(err, unix.ELOOP) {
		return data, err
	}
	f, st, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	opened := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	real, err := os.Readlink(opened) // the name of what was opened, whatever path leads to by now
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 && !forEverybody(real, st) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("a link to %s, which not everybody may read", real)}
	}
	return readRegular(opened, limit, 0)
}

// forEverybody tells whether every user may read a file.
func forEverybody(path string, st fs.FileInfo) bool {
	for dir := range parents(path) {
		if st, err := os.Stat(dir); err != nil || st.Mode()&0o001 == 0 {
			return false
		}
	}
	return st.Mode()&0o004 != 0
}
