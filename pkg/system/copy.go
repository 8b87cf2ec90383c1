package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// copyStep is how many bytes are copied between two checks of the context: a
// sparse file may have any length without using space.
const copyStep = 8 << 20

// Copy copies the rest of in to out until ctx ends. File systems that share
// extents copy no data.
func Copy(ctx context.Context, out, in *os.File) error {
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		_, err := io.CopyN(out, in, copyStep)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// CopyTree copies the directory src, a path without links, to dst, which must
// be missing or a directory. Links stay links, and times are kept. The copy has
// the modes without set-ID bits, and without write permission for anybody but
// the owner. Owners are kept only with keepOwner, since sources that root
// builds must not belong to somebody else. Device nodes, sockets and pipes are
// refused. If somebody changes src during the copy, nothing outside of src is
// copied.
func CopyTree(ctx context.Context, dst, src string, keepOwner bool) error {
	from, err := OpenDir(src)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := makeDir(dst); err != nil {
		return err
	}
	to, err := os.OpenRoot(dst)
	if err != nil {
		return err
	}
	defer to.Close()
	c := copying{ctx: ctx, from: from, to: to, keepOwner: keepOwner}
	if err := Walk(from, c.entry); err != nil {
		return err
	}
	return c.finishDirs()
}

// Walk calls do for everything in root: a directory comes before its entries,
// and the entries come in the order of their names. Walk follows no link and,
// unlike [fs.WalkDir], accepts names that are not UTF-8. An error names the
// file.
func Walk(root *os.Root, do func(name string, st fs.FileInfo) error) error {
	return eachIn(root, ".", do)
}

func eachIn(root *os.Root, name string, do func(name string, st fs.FileInfo) error) error {
	st, err := root.Lstat(name)
	if err == nil {
		err = do(name, st)
	}
	if err != nil || !st.IsDir() {
		return inTree(root.Name(), name, err)
	}
	dir, err := root.Open(name)
	if err != nil {
		return inTree(root.Name(), name, err)
	}
	entries, err := dir.Readdirnames(-1)
	dir.Close()
	slices.Sort(entries)
	for _, e := range entries {
		if err := eachIn(root, filepath.Join(name, e), do); err != nil {
			return err
		}
	}
	return inTree(root.Name(), name, err)
}

// inTree adds the path of the file below a tree to an error.
func inTree(top, name string, err error) error {
	if err == nil || strings.Contains(err.Error(), filepath.Join(top, name)) {
		return err
	}
	return fmt.Errorf("%s: %w", filepath.Join(top, name), err)
}

// OpenDir opens a directory. It fails if a name on the way is a link that leads
// out of the directory with the link.
func OpenDir(dir string) (*os.Root, error) {
	root, err := os.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.Trim(filepath.Clean(dir), "/"), "/") {
		if name == "" {
			break
		}
		next, err := root.OpenRoot(name)
		root.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		root = next
	}
	return root, nil
}

// copying is one copy of a tree.
type copying struct {
	ctx       context.Context
	from, to  *os.Root
	keepOwner bool
	dirs      []madeDir
}

// madeDir is a directory that gets its mode, owner and time after its last
// change.
type madeDir struct {
	name string
	like fs.FileInfo
}

func (c *copying) entry(name string, st fs.FileInfo) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	var err error
	switch mode := st.Mode(); {
	case mode.IsDir():
		c.dirs = append(c.dirs, madeDir{name, st})
		return c.dir(name)
	case mode.IsRegular():
		err = c.file(name)
	case mode&fs.ModeSymlink != 0:
		err = c.link(name)
	default:
		err = errors.New("neither a file, a directory nor a link")
	}
	if err != nil {
		return err
	}
	return c.own(name, st)
}

// dir makes a directory unless it exists. A link to a directory does not count
// as one, since it leads elsewhere.
func (c *copying) dir(name string) error {
	if st, err := c.to.Lstat(name); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return errLinkForDir(filepath.Join(c.to.Name(), name))
	}
	return c.to.MkdirAll(name, 0o755)
}

func errLinkForDir(path string) error {
	return &fs.PathError{Op: "copy", Path: path, Err: errors.New("a link in the place of a directory")}
}

// makeDir makes the top directory of a copy and its parents.
func makeDir(dir string) error {
	if st, err := os.Lstat(dir); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return errLinkForDir(dir)
	}
	return os.MkdirAll(dir, 0o755)
}

func (c *copying) link(name string) error {
	target, err := c.from.Readlink(name)
	if err != nil {
		return err
	}
	if err := c.makeRoom(name); err != nil {
		return err
	}
	return c.to.Symlink(target, name)
}

// makeRoom deletes what exists at the path of a file.
func (c *copying) makeRoom(name string) error {
	err := c.to.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// copiedMode is the part of a mode that a copy keeps.
func copiedMode(st fs.FileInfo) fs.FileMode { return st.Mode().Perm() &^ 0o022 }

func (c *copying) file(name string) error {
	in, err := c.from.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New("changed while it was being copied")
	}
	if err := c.makeRoom(name); err != nil {
		return err
	}
	// A program that is started meanwhile, for another build, would inherit the
	// open file for a moment, and nobody could execute the file (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := c.to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := Copy(c.ctx, out, in); err != nil {
		return err
	}
	if err := out.Chmod(copiedMode(st)); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return c.to.Chtimes(name, st.ModTime(), st.ModTime())
}

func (c *copying) own(name string, st fs.FileInfo) error {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !c.keepOwner || !ok || os.Geteuid() != 0 {
		return nil
	}
	return c.to.Lchown(name, int(sys.Uid), int(sys.Gid))
}

func (c *copying) finishDirs() error {
	for _, d := range slices.Backward(c.dirs) {
		if err := c.own(d.name, d.like); err != nil {
			return err
		}
		if err := c.to.Chmod(d.name, copiedMode(d.like)|0o700); err != nil {
			return err
		}
		c.to.Chtimes(d.name, d.like.ModTime(), d.like.ModTime())
	}
	return nil
}
