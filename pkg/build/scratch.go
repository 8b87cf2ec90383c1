package build

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// scratch is the directory of one build. The package's commands find the
// sources where DKMS has them, in the scratch directory of the version. A
// confined build mounts a directory of its own there that no other process
// sees, so that a version can be built for several kernels at the same time.
// Builds that are not confined have to wait for each other.
type scratch struct {
	tree *tree.Writer
	pool *Pool
	id   tree.ID
	user int // the owner of the sources

	dir  string // the sources as the commands see them
	real string // the sources outside the sandbox
	left string // where DKMS leaves the sources of a failed build
	log  string
	// private is the directory of a confined build; it is empty for other
	// builds.
	private string
	done    func()
}

// openScratch makes an empty directory for a build, which the commands of a
// confined build see at the path seen. The caller must close it.
func openScratch(pool *Pool, t *tree.Writer, id tree.ID, k tree.Target, confined bool, seen string, user int) (*scratch, error) {
	left := t.ScratchDir(id)
	s := &scratch{tree: t, pool: pool, id: id, user: user, dir: left, real: left, left: left, log: t.ScratchLog(id)}
	if !confined {
		s.done = pool.whole(id)
		if err := s.clear(); err != nil {
			s.done()
			return nil, err
		}
		return s, nil
	}
	s.private, s.dir = t.PrivateDir(id, k), seen
	s.real, s.log = filepath.Join(s.private, "src"), privateLog(s.private)
	var err error
	// The first of the next builds removes what the previous builds have left.
	s.done = pool.share(id, func() { err = s.clear() }, func() { os.Remove(s.left) }) // succeeds only when the directory is empty
	if err == nil {
		err = s.makePrivate()
	}
	if err != nil {
		s.close(false) // close fails for the same reason, if it fails
		return nil, err
	}
	return s, nil
}

// clear empties the scratch directory of the version, and moves away a log that
// is to be kept.
func (s *scratch) clear() error {
	if err := keepAttempt(s.tree, s.id); err != nil {
		return err
	}
	if err := os.RemoveAll(s.left); err != nil {
		return err
	}
	return os.MkdirAll(s.left, 0o755)
}

// makePrivate makes the directories of a confined build.
func (s *scratch) makePrivate() error {
	if err := os.RemoveAll(s.private); err != nil {
		return err
	}
	if err := os.Mkdir(s.private, 0o700); err != nil {
		return err
	}
	dirs := []string{s.real}
	for _, m := range s.common() {
		dirs = append(dirs, m.From)
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func privateLog(private string) string { return filepath.Join(private, "make.log") }

// common lists the mounts of the world-writable directories, as a confined
// build sees them.
func (s *scratch) common() (list []system.Mount) {
	for _, at := range []string{"/tmp", "/var/tmp", "/dev/shm", "/run/lock"} {
		list = append(list, system.Mount{From: filepath.Join(s.private, strings.ReplaceAll(at[1:], "/", "-")), At: at})
	}
	return list
}

// fill copies the sources, and the patches that the administrator adds.
func (s *scratch) fill(ctx context.Context, sources, patches string) error {
	if err := copyDir(ctx, s.real, sources); err != nil {
		return err
	}
	if system.IsDir(patches) {
		if err := copyDir(ctx, filepath.Join(s.real, "patches"), patches); err != nil {
			return err
		}
	}
	if s.private == "" {
		return nil
	}
	// The build continues a make.log that came with the sources.
	if log := filepath.Join(s.real, "make.log"); system.IsFile(log) {
		if err := os.Rename(log, s.log); err != nil {
			return err
		}
	}
	for _, m := range s.common() {
		if err := own(m.From, s.user); err != nil {
			return err
		}
	}
	return own(s.real, s.user)
}

// copyDir copies a directory that may be reached through links.
func copyDir(ctx context.Context, dst, src string) error {
	real, err := filepath.EvalSymlinks(src)
	if err != nil {
		return err
	}
	return system.CopyTree(ctx, dst, real, true)
}

// own changes the owner of a directory and everything in it, at any depth. It
// changes the owner of links, not of their targets.
func own(dir string, user int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return system.Walk(root, func(name string, _ fs.FileInfo) error { return root.Lchown(name, user, user) })
}

// close removes the directory. If the build has failed, the directory is kept
// for inspection, at the place where DKMS leaves it.
func (s *scratch) close(failed bool) (err error) {
	defer s.done()
	if s.private == "" {
		if !failed {
			return os.RemoveAll(s.left)
		}
		if system.IsFile(s.log) {
			return cutLog(context.Background(), s.log)
		}
		return nil
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.private)) }()
	unlock := s.pool.lock(s.id)
	defer unlock()
	if !failed {
		return nil
	}
	err = keepAttempt(s.tree, s.id)
	if system.IsFile(s.log) {
		// The build may have put anything in place of its log.
		os.RemoveAll(filepath.Join(s.real, filepath.Base(s.log)))
		err = errors.Join(err, own(s.real, 0), replaceContents(s.left, s.real), os.Rename(s.log, s.tree.ScratchLog(s.id)),
			cutLog(context.Background(), s.tree.ScratchLog(s.id)))
	}
	return err
}

// replaceContents replaces the contents of dir by the contents of from. dir
// itself stays: something may be mounted over it.
func replaceContents(dir, from string) error {
	old, err := os.ReadDir(dir)
	for _, e := range old {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	entries, readErr := os.ReadDir(from)
	err = errors.Join(err, readErr)
	for _, e := range entries {
		err = errors.Join(err, os.Rename(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())))
	}
	return err
}
