package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteFile writes data to path completely or not at all: it writes and syncs a
// temporary file in the same directory, renames that over path, and syncs the
// directory.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	tmp, err := StageBytes(path, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// RemoveSynced deletes a file, if it is there, and syncs the directory.
func RemoveSynced(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Errors of files that are not what a reader expects.
var (
	ErrNotRegular = errors.New("not a regular file")
	ErrTooLarge   = errors.New("larger")
)

// OpenRegular opens a path of unknown type for reading: a file that is not
// regular is an error, and OpenRegular does not block on it.
func OpenRegular(path string) (*os.File, fs.FileInfo, error) { return openRegular(path, 0) }

// OpenPlain is [OpenRegular] for a path that others may have created: a link is
// an error, wherever it leads.
func OpenPlain(path string) (*os.File, fs.FileInfo, error) { return openRegular(path, unix.O_NOFOLLOW) }

func openRegular(path string, how int) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|how, 0)
	if errors.Is(err, unix.ELOOP) && how&unix.O_NOFOLLOW != 0 {
		return nil, nil, fmt.Errorf("%s: a link, and not a regular file", path)
	}
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}

// ReadRegular reads a path of unknown type: a file that is not regular, or is
// larger than limit bytes, is an error, and ReadRegular does not block on it.
//
// It needs four system calls for most files. An [os.File] would cost as much
// again, and autoinstall reads a record for every installed module at every
// boot.
func ReadRegular(path string, limit int64) ([]byte, error) { return readRegular(path, limit, 0) }

// ReadPlain is [ReadRegular] for a path that others may have created: a link is
// an error, wherever it leads.
func ReadPlain(path string, limit int64) ([]byte, error) {
	data, err := readRegular(path, limit, unix.O_NOFOLLOW)
	if errors.Is(err, unix.ELOOP) {
		err = fmt.Errorf("%s: a link, and not a regular file", path)
	}
	return data, err
}

func readRegular(path string, limit int64, how int) ([]byte, error) {
	failed := func(op string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }
	fd, err := again(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC|how, 0)
	})
	if err != nil {
		return nil, failed("open", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, failed("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	data := make([]byte, 0, min(max(st.Size, 512), limit)+1)
	for {
		n, err := again(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, failed("read", err)
		}
		data = data[:len(data)+n]
		switch size := int64(len(data)); {
		case size > limit:
			return nil, fmt.Errorf("%s: %w than %d bytes", path, ErrTooLarge, limit)
		case n == 0 || size == st.Size: // files in proc and sys have size 0
			return data, nil
		}
		data = slices.Grow(data, 1)
	}
}

// again repeats a call that was interrupted by a signal.
func again(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != unix.EINTR {
			return n, err
		}
	}
}

// StagePrefix is the prefix of all temporary files that wait to be renamed; old
// files with this prefix may be deleted.
const StagePrefix = ".dkms-"

// StageBytes writes data to a synced temporary file beside path and returns its
// name; the caller renames it to path.
func StageBytes(path string, data []byte, mode fs.FileMode) (string, error) {
	return stage(path, mode, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}

// StageFile copies the file src, which must not be a link, to a synced
// temporary file beside path, as [StageBytes] does.
func StageFile(ctx context.Context, path, src string, mode fs.FileMode) (string, error) {
	return stage(path, mode, func(f *os.File) error { return copyInto(ctx, f, src) })
}

// CopySynced copies the file src, which must not be a link, to dst, which must
// not exist, and syncs dst.
func CopySynced(ctx context.Context, dst, src string, mode fs.FileMode) error {
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return finish(f, mode, func(f *os.File) error { return copyInto(ctx, f, src) })
}

func copyInto(ctx context.Context, f *os.File, src string) error {
	in, _, err := OpenPlain(src)
	if err != nil {
		return err
	}
	defer in.Close()
	return Copy(ctx, f, in)
}

func stage(path string, mode fs.FileMode, fill func(*os.File) error) (tmp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), StagePrefix+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	return f.Name(), finish(f, mode, fill)
}

// finish fills, syncs and closes a new file, and deletes the file on an error.
func finish(f *os.File, mode fs.FileMode, fill func(*os.File) error) error {
	err := fill(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// ReplaceLink makes path a symbolic link to target in one step: path never
// ceases to exist.
func ReplaceLink(path, target string) error {
	for i := range 100 {
		tmp := filepath.Join(filepath.Dir(path), StagePrefix+filepath.Base(path)+"."+strconv.Itoa(os.Getpid()+i))
		err := os.Symlink(target, tmp)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.Rename(tmp, path); err != nil {
			os.Remove(tmp)
			return err
		}
		return SyncDir(filepath.Dir(path))
	}
	return &fs.PathError{Op: "symlink", Path: path, Err: fs.ErrExist}
}

// SwapDir puts the directory stage in place of path, in one step if possible.
// The previous directory ends up at stage, for the caller to delete.
func SwapDir(path, stage string) error {
	err := unix.Renameat2(unix.AT_FDCWD, stage, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOENT):
		err = os.Rename(stage, path)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP):
		err = swapByThree(path, stage) // the file system cannot exchange two directories
	case errors.Is(err, unix.EXDEV):
		err = swapByCopy(path, stage) // path is a directory of a lower layer of an overlay
	default:
		err = &os.LinkError{Op: "rename", Old: stage, New: path, Err: err}
	}
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

func swapByThree(path, stage string) error {
	old := stage + ".old"
	err := os.Rename(path, old)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Rename(stage, path)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(stage, path); err != nil {
		return errors.Join(err, os.Rename(old, path))
	}
	return os.Rename(old, stage)
}

// swapByCopy replaces a directory that cannot be renamed because it is in the
// lower layer of an overlay file system (redirect_dir=off, see overlayfs in the
// kernel's documentation). It copies the directory first, and then deletes the
// directory file by file. After a crash, path may be incomplete, but complete
// copies of both directories exist under other names. The hidden files of a
// directory, which list its contents, are deleted last, so that an incomplete
// directory is not taken for a complete one.
func swapByCopy(path, stage string) error {
	old := stage + ".old"
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if err := CopyTree(context.Background(), old, real, true); err != nil {
		return errors.Join(err, os.RemoveAll(old))
	}
	if err := RemoveParts(path); err != nil {
		return err
	}
	if err := os.Rename(stage, path); err != nil {
		return err
	}
	return os.Rename(old, stage)
}

// RemoveParts deletes a directory that cannot be renamed first: it deletes
// hidden files last.
func RemoveParts(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// SyncDir makes the names in dir durable. If the file system cannot sync a
// directory, there is nothing to sync.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}

// SyncFileSystem writes everything to its place that the file system of dir has
// written to its journal only.
func SyncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}

// Match lists the sorted names in dir with a prefix and a suffix. Unlike
// [filepath.Glob], it does not interpret dir as a pattern, and reports why dir
// cannot be read.
func Match(dir, prefix, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if len(name) >= len(prefix)+len(suffix) && strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	return names, err
}

// Glob lists the paths in dir that match a pattern of [filepath.Match], relative
// to dir, in the order of [filepath.Glob]. It does not interpret dir as a pattern.
func Glob(dir, pattern string) []string {
	list, _ := filepath.Glob(filepath.Join(GlobQuote(dir), pattern)) // fails only for a malformed pattern
	return list
}

// GlobQuote escapes the characters of a name that have a meaning in a pattern.
func GlobQuote(name string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(name)
}

// SameFile tells whether two paths lead to the same file or directory, which
// exists.
func SameFile(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(sa, sb)
}

// IsDir reports whether path is a directory, following links.
func IsDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// IsFile reports whether path is a regular file, following links.
func IsFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// IsExecutable reports whether path is a regular file that can be executed.
func IsExecutable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// RemoveEmptyDirs deletes dir and then its parents, while they are empty and
// below stop.
func RemoveEmptyDirs(dir, stop string) {
	below := strings.TrimSuffix(stop, "/") + "/"
	for dir != stop && strings.HasPrefix(dir, below) {
		if unix.Rmdir(dir) != nil {
			return
		}
		dir = filepath.Dir(dir)
	}
}
