package archive

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// limits bound the content of an archive.
type limits struct {
	members int   // members, including implied directories
	bytes   int64 // of all files together
	name    int   // bytes in the name of a member
	depth   int   // directories above a member
}

// MaxBytes bounds the total size of the files of one archive.
const MaxBytes = 4 << 30

func defaultLimits() limits {
	return limits{members: 100_000, bytes: MaxBytes, name: 1024, depth: 100}
}

// streamBytes bounds the length of the archive itself, compressed or not: the
// files and the data that tar adds to each.
func (l limits) streamBytes() int64 { return l.bytes + 4096*int64(l.members) }

// Unpack extracts the archive path, or r when path is "-", into the new
// directory dir, which must not exist or must be empty. It creates files,
// directories and symbolic links, owned by the caller and writable for nobody
// else. An archive with a member of any other kind, or with a member outside
// dir, is an error. After an error dir does not exist.
func Unpack(ctx context.Context, run *system.Runner, path string, r io.Reader, dir string) error {
	u := &unpacker{limits: defaultLimits(), run: run}
	return u.unpack(ctx, path, r, dir)
}

// UnpackFiles is [Unpack] for the stream r, which may contain only regular
// files and directories: a link is an error, too. Errors call the stream name.
func UnpackFiles(ctx context.Context, run *system.Runner, name string, r io.Reader, dir string) error {
	u := &unpacker{limits: defaultLimits(), run: run, filesOnly: true}
	return u.unpackStream(ctx, name, r, dir)
}

// unpacker extracts one archive.
type unpacker struct {
	limits
	// filesOnly makes links an error.
	filesOnly bool
	// rooted says that the directory stands for the root of a system, so that
	// absolute links stay inside.
	rooted bool
	// top is a directory in the archive that stands for dir; it may be empty.
	top string

	run    *system.Runner
	root   *os.Root
	in     *meter   // the decompressed archive
	made   int      // members and implied directories
	used   int64    // bytes of files
	parent string   // a directory that is known not to be a link
	here   *os.Root // the directory parent, open: to find it again for each file takes as long as writing one
	dirs   []stamp
}

// stamp is the time that a directory gets after its content is written.
type stamp struct {
	name string
	time time.Time
}

func (u *unpacker) unpack(ctx context.Context, path string, r io.Reader, dir string) error {
	label := path
	if path == "-" {
		label = "standard input"
		r = &interruptible{ctx: ctx, in: r}
	} else {
		f, err := openArchive(ctx, path)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	return u.unpackStream(ctx, label, r, dir)
}

func (u *unpacker) unpackStream(ctx context.Context, label string, r io.Reader, dir string) error {
	if err := emptyDir(dir); err != nil {
		return err
	}
	err := u.into(ctx, r, dir)
	if err == nil {
		return nil
	}
	os.RemoveAll(dir)
	return fmt.Errorf("%s: %w", label, cmp.Or(context.Cause(ctx), err))
}

// openArchive opens an archive. A named pipe waits until somebody writes to it;
// openArchive, and reading what it opened, end with ctx.
func openArchive(ctx context.Context, path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, exit.Errorf(exit.NoSource, "archive: %w", err)
	}
	if st.IsDir() {
		return nil, exit.Errorf(exit.NoSource, "%s: is a directory, not an archive", path)
	}
	var f *os.File
	opened := make(chan error, 1)
	go func() {
		var err error
		f, err = os.Open(path)
		opened <- err
	}()
	select {
	case err = <-opened:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, exit.Errorf(exit.NoSource, "archive: %w", err)
	}
	context.AfterFunc(ctx, func() { f.Close() })
	return f, nil
}

// interruptible is an input that nobody can close: a read that waits for data ends
// with ctx, and the data that comes then is lost.
type interruptible struct {
	ctx context.Context
	in  io.Reader
	buf []byte
}

func (i *interruptible) Read(p []byte) (int, error) {
	if len(i.buf) < len(p) {
		i.buf = make([]byte, len(p))
	}
	type result struct {
		n   int
		err error
	}
	buf, done := i.buf[:len(p)], make(chan result, 1)
	go func() {
		n, err := i.in.Read(buf)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return copy(p, buf[:r.n]), r.err
	case <-i.ctx.Done():
		return 0, context.Cause(i.ctx)
	}
}

// emptyDir makes dir, or accepts an existing empty directory. Nobody else may
// enter dir until the whole archive has been checked.
func emptyDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s: exists and is not empty", dir)
	}
	return nil
}

// into extracts the stream r. Only faults of the archive itself have the exit
// status for a bad archive; faults of this machine have not.
func (u *unpacker) into(ctx context.Context, r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	defer func() {
		if u.here != nil {
			u.here.Close()
		}
	}()
	u.root = root
	raw := &meter{ctx: ctx, in: r, left: u.streamBytes()}
	z, err := decompressor(ctx, u.run, bufio.NewReaderSize(raw, 64<<10))
	if err != nil {
		return u.bad(ctx, err)
	}
	defer z.Close()
	u.in = &meter{ctx: ctx, in: z, left: u.streamBytes()}
	err = u.members(tar.NewReader(u.in))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case u.in.err != nil && !errors.Is(u.in.err, io.EOF):
		return u.bad(ctx, u.in.err)
	case err != nil:
		return err
	}
	return u.finish()
}

// bad returns an error about the archive.
func (u *unpacker) bad(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errTooLong):
		return exit.Errorf(exit.BadArchive, "holds more than %d bytes", u.bytes)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return exit.Errorf(exit.BadArchive, "the archive is cut off")
	case errors.Is(err, tar.ErrHeader):
		return exit.Errorf(exit.BadArchive, "not a tar archive, or a damaged one")
	}
	return exit.Errorf(exit.BadArchive, "%w", err)
}

// refuse returns an error about a member.
func refuse(name, format string, args ...any) error {
	return exit.Errorf(exit.BadArchive, "member %q: %w", name, fmt.Errorf(format, args...))
}

// members extracts all members and reads the rest of the stream, because
// compressors put their checksums at the end.
func (u *unpacker) members(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.bad(u.in.ctx, err)
		}
		if err := u.member(h, t); err != nil {
			return err
		}
	}
	if u.in.zeros < blockSize {
		return u.bad(u.in.ctx, io.ErrUnexpectedEOF)
	}
	_, err := io.Copy(io.Discard, u.in)
	return err
}

// member extracts one member.
func (u *unpacker) member(h *tar.Header, data io.Reader) error {
	if err := u.count(); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // git-archive writes this member first
	}
	name, err := u.memberName(h.Name)
	if err != nil {
		return refuse(h.Name, "%w", err)
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return refuse(h.Name, "stands in the place of the whole directory")
		}
		return nil
	}
	if u.filesOnly && (h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink) {
		return refuse(name, "a link, which has no business in here")
	}
	if err := u.parents(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(name, h, data, h.Size)
	case tar.TypeDir:
		return u.dir(name, h)
	case tar.TypeSymlink:
		return u.symlink(name, h.Linkname)
	case tar.TypeLink:
		return u.hardLink(name, h)
	default:
		return refuse(name, "neither a file, a directory nor a link (type %q)", h.Typeflag)
	}
}

// count counts a member or an implied directory.
func (u *unpacker) count() error {
	u.made++
	if u.made > u.limits.members {
		return exit.Errorf(exit.BadArchive, "holds more than %d members", u.limits.members)
	}
	return nil
}

// memberName returns the cleaned name of a member, relative to the top.
func (u *unpacker) memberName(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("no name")
	case path.IsAbs(name):
		return "", errors.New("absolute name")
	case len(name) > u.name:
		return "", fmt.Errorf("name longer than %d bytes", u.name)
	case strings.Count(name, "/") > u.depth:
		return "", fmt.Errorf("more than %d directories deep", u.depth)
	case strings.ContainsRune(name, 0):
		return "", errors.New("name with a NUL")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("name with .. in it")
		}
	}
	name = path.Clean(name)
	if name == u.top {
		return ".", nil
	}
	return strings.TrimPrefix(name, u.top+"/"), nil
}

// parents makes the missing directories above name. It makes sure that all of
// them are real directories, so nothing is written through a link. A directory
// that was checked once stays a directory, because only files are ever
// replaced.
func (u *unpacker) parents(name string) error {
	parent := path.Dir(name)
	if parent == "." || parent == u.parent {
		return nil
	}
	for i := range len(parent) + 1 {
		if i < len(parent) && parent[i] != '/' {
			continue
		}
		made, err := u.mkdir(parent[:i])
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if !made {
			continue
		}
		if err := u.count(); err != nil {
			return err
		}
	}
	if u.here != nil {
		u.here.Close()
	}
	var err error
	u.parent = parent
	u.here, err = u.root.OpenRoot(parent)
	return err
}

// place is the open directory of a member, whose parents exist, and its name there.
func (u *unpacker) place(name string) (*os.Root, string) {
	if dir, base := path.Split(name); dir != "" {
		return u.here, base
	}
	return u.root, name
}

// mkdir makes the directory name unless it exists.
func (u *unpacker) mkdir(name string) (made bool, err error) {
	st, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, u.root.Mkdir(name, 0o755)
	case err != nil:
		return false, err
	case !st.IsDir():
		return false, refuse(name, "is taken for a directory but is none")
	}
	return false, nil
}

// modeMask is the set of permissions that members keep.
const modeMask = 0o755

func (u *unpacker) dir(name string, h *tar.Header) error {
	if _, err := u.mkdir(name); err != nil {
		return err
	}
	u.dirs = append(u.dirs, stamp{name, h.ModTime})
	return u.root.Chmod(name, fs.FileMode(h.Mode)&modeMask|0o700)
}

// file makes a regular file of size bytes from data. It replaces an earlier
// file of the same name; anything else of that name is an error.
func (u *unpacker) file(name string, h *tar.Header, data io.Reader, size int64) error {
	if size < 0 || size > u.bytes-u.used {
		return refuse(name, "%d bytes make the archive larger than %d", size, u.bytes)
	}
	u.used += size
	in, base := u.place(name)
	f, err := in.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if err = u.makeRoom(name); err == nil {
			f, err = in.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(data, size))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), err == nil && n != size:
		return u.bad(u.in.ctx, io.ErrUnexpectedEOF)
	case err != nil:
		return fmt.Errorf("%q: %w", name, err)
	}
	if err := f.Chmod(fs.FileMode(h.Mode)&modeMask | 0o400); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return setTime(in, base, h.ModTime)
}

// makeRoom deletes an earlier file of the same name.
func (u *unpacker) makeRoom(name string) error {
	st, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !st.Mode().IsRegular():
		return refuse(name, "would replace something that is no file")
	}
	return u.root.Remove(name)
}

func (u *unpacker) symlink(name, target string) error {
	if u.rooted && path.IsAbs(target) {
		target = inside(name, target)
	}
	if err := localLink(name, target); err != nil {
		return refuse(name, "%w", err)
	}
	err := u.root.Symlink(target, name)
	if errors.Is(err, fs.ErrExist) {
		return refuse(name, "occurs twice")
	}
	return err
}

// hardLink copies an earlier file. With two names for one file, a later member
// could change both.
func (u *unpacker) hardLink(name string, h *tar.Header) error {
	from, err := u.memberName(h.Linkname)
	if err != nil {
		return refuse(name, "link to %q: %w", h.Linkname, err)
	}
	if from == name {
		return refuse(name, "link to itself")
	}
	for dir := path.Dir(from); dir != "."; dir = path.Dir(dir) {
		if st, err := u.root.Lstat(dir); err != nil || !st.IsDir() {
			return refuse(name, "link to %q, which is not an earlier file", h.Linkname)
		}
	}
	st, err := u.root.Lstat(from)
	if err != nil || !st.Mode().IsRegular() {
		return refuse(name, "link to %q, which is not an earlier file", h.Linkname)
	}
	f, err := u.root.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.file(name, &tar.Header{Mode: int64(st.Mode().Perm()), ModTime: st.ModTime()}, f, st.Size())
}

// setTime sets a modification time, unless file systems cannot represent it.
func setTime(in *os.Root, name string, t time.Time) error {
	if t.Unix() < 0 || t.Unix() >= 1<<33 {
		return nil
	}
	return in.Chtimes(name, t, t)
}

// finish sets the times of the directories, after the last change to their
// content.
func (u *unpacker) finish() error {
	for _, d := range u.dirs {
		if err := setTime(u.root, d.name, d.time); err != nil {
			return err
		}
	}
	return nil
}
