package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"dkms/pkg/system"
)

// transaction is a set of changes to the install tree that happen together:
// all files are staged and synced beside their targets first, then renamed,
// and what is replaced or deleted stays at hand until the end.
type transaction struct {
	changes []change
	applied int
}

// change is one path: staged is what it becomes, "" to delete it; backup
// keeps what it was.
type change struct {
	path, staged, backup string
}

// put stages a copy of the file src for path.
func (t *transaction) put(path, src string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	staged, err := system.StageFile(path, src, 0o644)
	if err != nil {
		return err
	}
	t.changes = append(t.changes, change{path: path, staged: staged})
	return nil
}

// link stages a symbolic link to target for path.
func (t *transaction) link(path, target string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	staged, err := freeName(path)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, staged); err != nil {
		return err
	}
	t.changes = append(t.changes, change{path: path, staged: staged})
	return nil
}

// remove notes that path is to go. A path that is also put stays.
func (t *transaction) remove(path string) {
	for _, c := range t.changes {
		if c.path == path {
			return
		}
	}
	t.changes = append(t.changes, change{path: path})
}

// freeName is a name beside path that does not exist yet.
func freeName(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), system.StagePrefix+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	f.Close()
	return f.Name(), os.Remove(f.Name())
}

// commit makes the changes. On an error everything is as it was before.
func (t *transaction) commit() error {
	for i := range t.changes {
		if err := t.changes[i].apply(); err != nil {
			return errors.Join(err, t.rollback())
		}
		t.applied++
	}
	return t.sync()
}

func (c *change) apply() error {
	if _, err := os.Lstat(c.path); err == nil {
		backup, err := freeName(c.path)
		if err != nil {
			return err
		}
		if c.staged == "" {
			err = os.Rename(c.path, backup)
		} else {
			err = os.Link(c.path, backup) // path never ceases to exist
		}
		if err != nil {
			return err
		}
		c.backup = backup
	}
	if c.staged == "" {
		return nil
	}
	return os.Rename(c.staged, c.path)
}

func (c *change) undo() error {
	if c.backup != "" {
		return os.Rename(c.backup, c.path)
	}
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// rollback undoes what was applied and deletes what was staged.
func (t *transaction) rollback() error {
	var errs []error
	for i := len(t.changes) - 1; i >= 0; i-- {
		c := &t.changes[i]
		switch {
		case i < t.applied:
			errs = append(errs, c.undo())
		default:
			if c.staged != "" {
				os.Remove(c.staged)
			}
			if c.backup != "" {
				errs = append(errs, os.Rename(c.backup, c.path))
			}
		}
	}
	t.changes, t.applied = nil, 0
	return errors.Join(errs...)
}

// finish deletes what the changes replaced.
func (t *transaction) finish() {
	for _, c := range t.changes {
		if c.backup != "" {
			os.Remove(c.backup)
		}
	}
}

func (t *transaction) sync() error {
	synced := map[string]bool{}
	for _, c := range t.changes {
		dir := filepath.Dir(c.path)
		if synced[dir] || !system.IsDir(dir) {
			continue
		}
		if err := system.SyncDir(dir); err != nil {
			return err
		}
		synced[dir] = true
	}
	return nil
}
