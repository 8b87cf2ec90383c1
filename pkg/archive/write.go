package archive

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Write makes an archive of c at path, compressed as the suffix of path says.
// It returns after the archive has been synced and renamed into place. Until
// then, and after an error, path is unchanged.
func Write(ctx context.Context, run *system.Runner, path string, c Content) error {
	if err := c.check(); err != nil {
		return err
	}
	kind, err := byName(path)
	if err != nil {
		return err
	}
	path, err = destination(path)
	if err != nil {
		return err
	}
	dir, err := system.OpenDir(filepath.Dir(path))
	if err != nil {
		return exit.Errorf(exit.ArchiveDest, "%w", err)
	}
	defer dir.Close()
	name := fmt.Sprintf("%sarchive.%08x", system.StagePrefix, rand.Uint32())
	f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return exit.Errorf(exit.ArchiveDest, "%s: %w", dir.Name(), err)
	}
	defer dir.Remove(name) // fails harmlessly after the rename
	defer f.Close()
	if err := fill(ctx, run, f, kind, c); err != nil {
		if _, ok := errors.AsType[*exit.Error](err); ok {
			return err
		}
		return exit.Errorf(writeFailed, "%s: %w", path, err)
	}
	if err := publish(dir, f, name, filepath.Base(path)); err != nil {
		return exit.Errorf(writeFailed, "%s: %w", path, err)
	}
	return nil
}

// destination makes the directory of path and returns the file to replace. It
// follows a link, because the original, which runs tar on path, writes through
// links as well, but not through another user's link in /tmp. Only a regular
// file may be replaced: a device or a pipe must not be renamed away.
func destination(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := system.Resolve(path)
	if err != nil {
		return "", exit.Errorf(exit.ArchiveDest, "%w", err)
	}
	if err := os.MkdirAll(filepath.Dir(real), 0o755); err != nil {
		return "", exit.Errorf(exit.ArchiveDest, "%s: %w", path, err)
	}
	st, err := os.Lstat(real)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return real, nil
	case err != nil:
		return "", exit.Errorf(exit.ArchiveDest, "%s: %w", path, err)
	case !st.Mode().IsRegular():
		return "", exit.Errorf(exit.ArchiveDest, "%s: exists and is not a file", path)
	}
	return real, nil
}

func publish(dir *os.Root, f *os.File, staged, name string) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := dir.Rename(staged, name); err != nil {
		return err
	}
	return system.SyncDir(dir.Name())
}

// fill writes the compressed archive into f.
func fill(ctx context.Context, run *system.Runner, f *os.File, kind compression, c Content) error {
	self, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := compressor(ctx, run, f, kind)
	if err != nil {
		return err
	}
	w := &writer{ctx: ctx, tar: tar.NewWriter(z), self: self}
	err = w.content(c)
	if err == nil {
		err = w.tar.Close()
	}
	closed := z.Close()
	if err == nil {
		err = closed
	}
	return err
}

// writer writes members into an archive.
type writer struct {
	ctx  context.Context
	tar  *tar.Writer
	self fs.FileInfo // the archive itself, which may be inside the source directory
	time time.Time   // the time of members that are not files
	used int64       // bytes of files
}

// content writes all members in the order of their names.
func (w *writer) content(c Content) error {
	source, err := w.sources(c)
	if err != nil {
		return err
	}
	if source == "" {
		if err := w.description(c); err != nil {
			return err
		}
	}
	// Without this directory the original treats an archive as plain sources.
	if err := w.dir(buildsDir); err != nil {
		return err
	}
	if err := w.builds(c.Builds); err != nil {
		return err
	}
	if source == "" {
		return nil
	}
	return w.tree(sourceDir, source)
}

// sources returns the real directory of the sources, if any, and chooses the
// time of the members that are not files. That time is the newest time in the
// content, so that the same content makes the same archive.
func (w *writer) sources(c Content) (string, error) {
	for _, b := range c.Builds {
		st, err := os.Stat(b.Dir)
		if err != nil || !st.IsDir() {
			return "", exit.Errorf(exit.NotBuilt, "%s/%s: not built for %s (%s): %s is no directory", c.Name, c.Version, b.Kernel, b.Arch, b.Dir)
		}
		w.newer(st.ModTime())
	}
	if c.SourceDir == "" {
		return "", nil
	}
	real, err := filepath.EvalSymlinks(c.SourceDir)
	if err != nil {
		return "", exit.Errorf(exit.NoSource, "%s/%s: sources: %w", c.Name, c.Version, err)
	}
	st, err := os.Stat(real)
	if err != nil || !st.IsDir() {
		return "", exit.Errorf(exit.NoSource, "%s/%s: sources: %s is no directory", c.Name, c.Version, c.SourceDir)
	}
	w.newer(st.ModTime())
	return real, nil
}

func (w *writer) newer(t time.Time) {
	if t.After(w.time) {
		w.time = t
	}
}

// description writes the files that replace the sources in an archive without
// sources.
func (w *writer) description(c Content) error {
	if err := w.dir(binariesDir); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{nameFile, []byte(c.Name + "\n")},
		{versionFile, []byte(c.Version + "\n")},
		{confFile, c.Conf},
	} {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: member(binariesDir, f.name), Mode: 0o644, Size: int64(len(f.data)), ModTime: w.time}
		if err := w.header(h); err != nil {
			return err
		}
		if _, err := w.tar.Write(f.data); err != nil {
			return err
		}
	}
	return nil
}

// builds writes the builds, each once even if the list repeats it.
func (w *writer) builds(list []Build) error {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Build) int {
		return cmp.Or(cmp.Compare(a.Kernel, b.Kernel), cmp.Compare(a.Arch, b.Arch))
	})
	var last Build
	for _, b := range list {
		if b.Kernel == last.Kernel && b.Arch == last.Arch {
			continue
		}
		if b.Kernel != last.Kernel {
			if err := w.dir(path.Join(buildsDir, b.Kernel)); err != nil {
				return err
			}
		}
		real, err := filepath.EvalSymlinks(b.Dir)
		if err != nil {
			return err
		}
		if err := w.tree(path.Join(buildsDir, b.Kernel, b.Arch), real); err != nil {
			return err
		}
		last = b
	}
	return nil
}

// tree writes the directory dir under the name top.
func (w *writer) tree(top, dir string) error {
	// The owner of the sources may change them meanwhile; the os.Root keeps
	// files outside of dir out of the archive even then.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if err := w.entry(root, top, rel); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	})
}

// entry writes one file, directory or link: rel of root.
func (w *writer) entry(root *os.Root, top, rel string) error {
	st, err := root.Lstat(rel)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: member(top, rel), Mode: int64(st.Mode().Perm()), ModTime: st.ModTime()}
	switch {
	case st.Mode().IsRegular():
		return w.file(root, rel, h)
	case st.IsDir():
		h.Typeflag = tar.TypeDir
		h.Name += "/"
		return w.header(h)
	case st.Mode()&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = root.Readlink(rel)
		if err != nil {
			return err
		}
		// Unpack would refuse an archive with such a link.
		if err := localLink(rel, h.Linkname); err != nil {
			return err
		}
		return w.header(h)
	default:
		return errors.New("neither a file, a directory nor a link")
	}
}

// file writes a regular file with the size that it has when it is opened. Of a
// log it writes at most maxLog bytes.
func (w *writer) file(root *os.Root, rel string, h *tar.Header) error {
	f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if os.SameFile(st, w.self) {
		return nil
	}
	if !st.Mode().IsRegular() {
		return errors.New("changed while it was being archived")
	}
	var in io.Reader = f
	h.Typeflag, h.Size = tar.TypeReg, st.Size()
	if path.Base(h.Name) == logFile {
		in, h.Size = system.Cut(f, st.Size(), maxLog)
	}
	if w.used += h.Size; w.used > MaxBytes {
		return exit.Errorf(writeFailed, "makes the archive larger than the %d bytes that can be loaded again", int64(MaxBytes))
	}
	if err := w.header(h); err != nil {
		return err
	}
	_, err = io.CopyN(w.tar, &meter{ctx: w.ctx, in: in, left: h.Size}, h.Size)
	if errors.Is(err, io.EOF) {
		return errors.New("shrank while it was being archived")
	}
	return err
}

// dir writes a directory that does not exist on disk.
func (w *writer) dir(name string) error {
	return w.header(&tar.Header{Typeflag: tar.TypeDir, Name: member(name, "") + "/", Mode: 0o755, ModTime: w.time})
}

// header begins a member. The member belongs to root. Its time has no fraction
// of a second, because a fraction needs an extension that not every tar reads.
func (w *writer) header(h *tar.Header) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	h.Uname, h.Gname = "root", "root"
	h.ModTime = h.ModTime.Truncate(time.Second)
	return w.tar.WriteHeader(h)
}

// logFile is the log of a build. A build may write a log of any length, so an
// archive contains at most maxLog bytes of it.
const (
	logFile = "make.log"
	maxLog  = 64 << 20
)

// member returns the name of a member in the form of "tar -c .".
func member(top, rel string) string { return "./" + path.Join(top, rel) }
