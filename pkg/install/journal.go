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

// maxJournal bounds how many bytes of a journal are read.
const maxJournal = 16 << 20

// Unfinished tells whether an interrupted run has left a journal.
func Unfinished(t *tree.Tree) bool { return exists(journalPath(t)) }

// ErrJournal is the error of a journal that cannot be followed: it is damaged,
// another program's, or the files that it names have changed since.
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

// SetAside renames a journal that Recover cannot follow, so that the journal
// does not stop later runs, and returns the new name.
func SetAside(t *tree.Writer) (string, error) {
	aside := journalPath(t.Tree) + ".refused"
	return aside, os.Rename(journalPath(t.Tree), aside)
}

// Recover finishes or undoes the change of an interrupted run, and returns the
// version and target of that change. The caller holds the lock of the tree.
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

// If somebody has changed the files that a journal names, recovery would fail
// the same way for ever. stuck turns such an error into that of a useless
// journal. Errors of the machine may be transient, so stuck returns them
// unchanged.
func (t *transaction) stuck(err error) error {
	for _, lasting := range []error{unix.ENOENT, unix.ENOTDIR, unix.EISDIR, unix.EEXIST, unix.ENOTEMPTY, unix.ELOOP, unix.ENAMETOOLONG, unix.EXDEV} {
		if errors.Is(err, lasting) {
			return fmt.Errorf("%w: %v", ErrJournal, err)
		}
	}
	return err
}

// finishInterrupted finishes or undoes an interrupted change of this run or of
// one before it.
func (in *Installer) finishInterrupted() error {
	if !Unfinished(in.Tree.Tree) {
		return nil
	}
	_, _, err := in.Recover()
	return err
}

// check refuses a journal that names paths outside of the directories of
// transactions, or files that are not modules. Only root can write a journal,
// but a damaged one must not do more damage.
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
// link on the way leads out of the directory.
func moduleIn(dir, path string) bool {
	if _, _, ok := module.ParseSuffix(filepath.Base(path)); !ok || !inside(dir, path) || filepath.Clean(path) != path {
		return false
	}
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) // nothing is there, so nothing can be damaged
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

// record writes the changed files into manifests: the installed files are
// listed in the manifest of their version and in no other. record may be
// repeated.
func (in *Installer) record(t *transaction) error {
	if t.Active == "" {
		if err := in.forgetOrigins(t); err != nil {
			return err
		}
	} else if err := in.recordInstalled(t); err != nil {
		return err
	}
	return in.only(t.ID.Name, t.Active, t.Target)
}

// only records that nothing is installed of the other versions of a package.
func (in *Installer) only(name, active string, k tree.Target) error {
	versions, err := in.Tree.Known(name)
	if err != nil {
		return err
	}
	for _, v := range versions {
		m, _ := in.Tree.Manifest(v.ID, k)
		if v.ID.Version == active || m == nil || len(m.Installed) == 0 {
			continue
		}
		m.Installed = nil
		if err := m.Save(in.Tree.BuildDir(v.ID, k)); err != nil {
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
	m.Installed, m.Used = nil, in.Now().UTC()
	for _, c := range t.Changes {
		if c.Staged == "" {
			continue
		}
		if !in.Dated.IsZero() {
			unix.Lutimes(c.Path, []unix.Timeval{unix.NsecToTimeval(in.Dated.UnixNano()), unix.NsecToTimeval(in.Dated.UnixNano())})
		}
		i, err := describe(c.Path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || system.IsDir(c.Path) {
			in.Report.Warnf("%s: %s is gone; it is not installed", t.ID, c.Path)
			i, err = tree.Installed{Path: c.Path, SHA256: c.Contents}, nil // a missing file will be installed again
		}
		if err != nil {
			return err
		}
		m.Installed = append(m.Installed, i)
	}
	return m.Save(in.Tree.BuildDir(t.ID, t.Target))
}
