package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// maxJournal bounds the journal that is read back, in bytes.
const maxJournal = 16 << 20

// Unfinished tells whether an interrupted run has left its journal.
func Unfinished(t *tree.Tree) bool { return exists(journalPath(t)) }

// ErrJournal is the error of a journal that says nothing that can be done: it
// is damaged, somebody else's, or what it is about has changed since.
var ErrJournal = errors.New("not a journal that this program understands or can follow")

func readJournal(state *tree.Writer) (*transaction, error) {
	t := &transaction{tree: state, journal: journalPath(state.Tree)}
	st, err := os.Lstat(t.journal)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxJournal {
		return nil, fmt.Errorf("%s: %w", t.journal, ErrJournal)
	}
	data, err := system.ReadRegular(t.journal, maxJournal)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, t); err != nil || t.Schema != journalSchema {
		return nil, fmt.Errorf("%s: %w", t.journal, ErrJournal)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("%s: %w: %v", t.journal, ErrJournal, err)
	}
	return t, nil
}

// SetAside renames the journal that Recover cannot use, so that it stops
// nobody, and returns its new name.
func SetAside(t *tree.Writer) (string, error) {
	aside := journalPath(t.Tree) + ".refused"
	return aside, os.Rename(journalPath(t.Tree), aside)
}

// Recover finishes or undoes what an interrupted run was doing, and returns
// what that was. The caller holds the lock of the tree.
func (in *Installer) Recover() (id tree.ID, k tree.Target, err error) {
	t, err := readJournal(in.Tree)
	if err != nil {
		return id, k, err
	}
	if !t.committed() {
		in.Report.Warnf("%s: an interrupted change for %s is undone", t.ID, t.Target)
		return t.ID, t.Target, t.stuck(t.undo())
	}
	in.Report.Warnf("%s: an interrupted change for %s is finished", t.ID, t.Target)
	if err = in.record(t); err == nil {
		err = t.finish()
	}
	return t.ID, t.Target, t.stuck(err)
}

// stuck makes the error of a recovery that will fail the same way for ever one
// of a journal that is of no use: somebody has changed since what it is about.
// Errors of the machine stay, since they may pass.
func (t *transaction) stuck(err error) error {
	for _, lasting := range []error{unix.ENOENT, unix.ENOTDIR, unix.EISDIR, unix.EEXIST, unix.ENOTEMPTY, unix.ELOOP, unix.ENAMETOOLONG, unix.EXDEV} {
		if errors.Is(err, lasting) {
			return fmt.Errorf("%w: %v", ErrJournal, err)
		}
	}
	return err
}

// finishInterrupted deals with a change that this run, or one before it, has left.
func (in *Installer) finishInterrupted() error {
	if !Unfinished(in.Tree.Tree) {
		return nil
	}
	_, _, err := in.Recover()
	return err
}

// check refuses a journal that leads out of the directories that transactions
// are about, or to other files than modules: whoever can write it is root, but
// a damaged one must not make things worse.
func (t *transaction) check() error {
	if err := errors.Join(t.ID.Check(), t.Target.Check()); err != nil {
		return err
	}
	archive := t.tree.Originals(t.ID.Name, t.Target)
	for _, c := range t.Changes {
		if !moduleIn(t.moduleDir(), c.Path) || c.Staged == "" && c.Backup == "" {
			return fmt.Errorf("%q is no module of %s", c.Path, t.Target)
		}
		for _, name := range []string{c.Staged, c.Backup} {
			if name != "" && (filepath.Dir(name) != filepath.Dir(c.Path) || !strings.HasPrefix(filepath.Base(name), system.StagePrefix)) {
				return fmt.Errorf("%q does not wait for %s", name, c.Path)
			}
		}
	}
	for _, m := range t.Moves {
		from, to := t.moduleDir(), archive
		if t.Active == "" {
			from, to = to, from
		}
		if !moduleIn(from, m.From) || !moduleIn(to, m.To) {
			return fmt.Errorf("%q cannot come from %q", m.To, m.From)
		}
	}
	return nil
}

// moduleIn tells whether a path is that of a module below a directory, and no
// link on the way leads out of it.
func moduleIn(dir, path string) bool {
	if _, _, ok := module.ParseSuffix(filepath.Base(path)); !ok || !inside(dir, path) || filepath.Clean(path) != path {
		return false
	}
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) // nothing is there, and nothing can be done to it
	}
	for parent := filepath.Dir(path); ; parent = filepath.Dir(parent) {
		real, err := filepath.EvalSymlinks(parent)
		if err == nil {
			return real == realDir || inside(realDir, real)
		}
		if !errors.Is(err, fs.ErrNotExist) || parent == dir || exists(parent) {
			return false
		}
	}
}

// inside tells whether a path lies below a directory.
func inside(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsAbs(path) && filepath.IsLocal(rel) && rel != "."
}

// record writes down what has changed: the installed files in the manifest of
// their version, and in that of no other. It may be done twice.
func (in *Installer) record(t *transaction) error {
	if t.Active == "" {
		if err := in.forgetOrigins(t); err != nil {
			return err
		}
	} else if err := in.recordInstalled(t); err != nil {
		return err
	}
	versions, err := in.Tree.Known(t.ID.Name)
	if err != nil {
		return err
	}
	for _, v := range versions {
		m, _ := in.Tree.Manifest(v.ID, t.Target)
		if v.ID.Version == t.Active || m == nil || len(m.Installed) == 0 {
			continue
		}
		m.Installed = nil
		if err := m.Save(in.Tree.BuildDir(v.ID, t.Target)); err != nil {
			return err
		}
	}
	return nil
}

func (in *Installer) recordInstalled(t *transaction) error {
	m, err := in.Tree.Manifest(t.ID, t.Target)
	if err != nil || m == nil {
		return err
	}
	m.Installed = nil
	for _, c := range t.Changes {
		if c.Staged == "" {
			continue
		}
		i, err := describe(c.Path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || system.IsDir(c.Path) {
			in.Report.Warnf("%s: %s is gone; it is not installed", t.ID, c.Path)
			i, err = tree.Installed{Path: c.Path, SHA256: c.Contents}, nil // what is missing is put there again
		}
		if err != nil {
			return err
		}
		m.Installed = append(m.Installed, i)
	}
	return m.Save(in.Tree.BuildDir(t.ID, t.Target))
}
