package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// transaction is a set of changes to the install tree that happen together.
// All new files are staged and synced beside their places, then the journal
// is written, then the changes are made; the link that calls a version
// installed changes last and decides, after a crash, which way to go: where
// it names what it is to name, what is replaced goes, otherwise everything is
// put back. A version that is installed over itself has a link that cannot
// decide; then the journal does.
type transaction struct {
	Schema int         `json:"schema"`
	ID     tree.ID     `json:"id"`
	Target tree.Target `json:"target"`
	// Before and Active are the versions that the link names before, and when
	// all is done, or "".
	Before string `json:"before"`
	Active string `json:"active"`
	// Done says, where those are the same, that all changes are made.
	Done bool `json:"done,omitempty"`
	// Moves are originals on their way into the archive or back.
	Moves []move `json:"moves,omitempty"`
	// Changes are the files that come, go or are replaced.
	Changes []change `json:"changes,omitempty"`

	tree    *tree.Tree
	journal string
}

type move struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// change is one path: Staged is what it becomes, "" to delete it; Backup is
// where what it was waits for the end, "" if it was not there. Inode is that of
// the staged file: only a file that has it was put there by the change.
type change struct {
	Path   string `json:"path"`
	Staged string `json:"staged,omitempty"`
	Backup string `json:"backup,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
}

const journalSchema = 1

// journalPath is hidden: the original passes over it.
func journalPath(t *tree.Tree) string { return filepath.Join(t.Dir(), ".journal.json") }

func newTransaction(t *tree.Tree, id tree.ID, k tree.Target, active string) *transaction {
	return &transaction{
		Schema: journalSchema, ID: id, Target: k, Before: t.Active(id.Name, k), Active: active,
		tree: t, journal: journalPath(t),
	}
}

// moduleDir is the directory that the changes are in.
func (t *transaction) moduleDir() string {
	return filepath.Join(t.tree.Root().InstallTree(), t.Target.Kernel)
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
	return t.change(path, staged)
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
	return t.change(path, staged)
}

// remove notes that path is to go. A path that is also put stays.
func (t *transaction) remove(path string) error {
	if t.changes(path) {
		return nil
	}
	return t.change(path, "")
}

// changes tells whether path is among the changes.
func (t *transaction) changes(path string) bool {
	return slices.ContainsFunc(t.Changes, func(c change) bool { return c.Path == path })
}

func (t *transaction) change(path, staged string) error {
	c := change{Path: path, Staged: staged, Inode: inode(staged)}
	archived := slices.ContainsFunc(t.Moves, func(m move) bool { return m.From == path })
	if exists(path) && !archived {
		var err error
		if c.Backup, err = freeName(path); err != nil {
			return err
		}
	}
	t.Changes = append(t.Changes, c)
	return nil
}

func inode(path string) uint64 {
	var st unix.Stat_t
	if path == "" || unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
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

// commit makes the changes; flip then changes the link. On an error
// everything is as it was before, unless the link has changed all the same:
// then the journal stays, and with it the rest is left to whoever comes next.
func (t *transaction) commit(flip func() error) error {
	err := t.write()
	if err == nil {
		err = t.apply()
	}
	if err == nil {
		err = t.sync()
	}
	if err != nil {
		return errors.Join(err, t.undo())
	}
	if err = flip(); err == nil && t.Before == t.Active {
		t.Done = true
		err = t.write()
	}
	if err != nil && !t.committed() {
		err = errors.Join(err, t.undo())
	}
	return err
}

// committed tells whether the changes are to stay.
func (t *transaction) committed() bool {
	if t.Before != t.Active {
		return t.tree.Active(t.ID.Name, t.Target) == t.Active
	}
	written, err := readJournal(t.tree)
	return err == nil && written.Done
}

func (t *transaction) write() error {
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return system.WriteFile(t.journal, data, 0o644)
}

// reversible is a move or a change.
type reversible interface {
	apply() error
	undo() error
}

// steps are the moves and changes in their order: originals make room for new
// files, and come back when those are gone.
func (t *transaction) steps() []reversible {
	var moves, changes []reversible
	for _, m := range t.Moves {
		moves = append(moves, m)
	}
	for _, c := range t.Changes {
		changes = append(changes, c)
	}
	if t.Active == "" {
		return append(changes, moves...)
	}
	return append(moves, changes...)
}

func (t *transaction) apply() error {
	for _, m := range t.Moves {
		if t.Active == "" {
			break
		}
		if err := noteOrigin(m.From, m.To); err != nil {
			return err
		}
	}
	for _, s := range t.steps() {
		if err := s.apply(); err != nil {
			return err
		}
	}
	return nil
}

func (m move) apply() error {
	if err := os.MkdirAll(filepath.Dir(m.To), 0o755); err != nil {
		return err
	}
	return moveFile(m.From, m.To)
}

// apply changes one path. While a file is replaced its path never ceases to
// exist.
func (c change) apply() error {
	if c.Staged == "" {
		return os.Rename(c.Path, c.Backup)
	}
	if c.Backup != "" {
		if err := os.Link(c.Path, c.Backup); err != nil {
			return err
		}
	}
	return os.Rename(c.Staged, c.Path)
}

// undo puts back everything, however far apply got, and drops the journal.
func (t *transaction) undo() error {
	var errs []error
	for _, s := range slices.Backward(t.steps()) {
		errs = append(errs, s.undo())
	}
	if err := errors.Join(append(errs, t.sync())...); err != nil {
		return fmt.Errorf("%w; %s says what is to be put back", err, t.journal)
	}
	if err := t.forgetArchive(); err != nil {
		return err
	}
	t.tidy()
	return t.drop()
}

// tidy deletes the directories that have become empty.
func (t *transaction) tidy() {
	for _, c := range t.Changes {
		system.RemoveEmptyDirs(filepath.Dir(c.Path), t.moduleDir())
	}
}

func (c change) undo() error {
	waiting := c.Staged != "" && exists(c.Staged)
	switch {
	case c.Backup != "" && exists(c.Backup):
		if err := os.Rename(c.Backup, c.Path); err != nil {
			return err
		}
		// Two names of one file are not renamed.
		if err := removeFile(c.Backup); err != nil {
			return err
		}
	case c.Backup == "" && !waiting && inode(c.Path) == c.Inode:
		if err := removeFile(c.Path); err != nil {
			return err
		}
	}
	if waiting {
		return removeFile(c.Staged)
	}
	return nil
}

// undo moves back. Where both files are there one is a copy, if they are the
// same, and otherwise somebody else's.
func (m move) undo() error {
	if !exists(m.To) {
		return nil
	}
	if exists(m.From) {
		if !sameContents(m.From, m.To) {
			return nil
		}
		return removeFile(m.To)
	}
	if err := os.MkdirAll(filepath.Dir(m.From), 0o755); err != nil {
		return err
	}
	return moveFile(m.To, m.From)
}

func sameContents(a, b string) bool {
	sumA, errA := digest(a)
	sumB, errB := digest(b)
	return errA == nil && errB == nil && sumA == sumB
}

// finish deletes what the changes replaced, and the journal.
func (t *transaction) finish() error {
	var errs []error
	for _, c := range t.Changes {
		if c.Backup != "" {
			errs = append(errs, removeFile(c.Backup))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.tidy()
	return t.drop()
}

func (t *transaction) drop() error {
	if err := removeFile(t.journal); err != nil {
		return err
	}
	return system.SyncDir(filepath.Dir(t.journal))
}

// forgetArchive deletes what was written about originals that are not archived
// after all.
func (t *transaction) forgetArchive() error {
	for _, m := range t.Moves {
		if t.Active == "" || exists(m.To) {
			continue
		}
		if err := removeFile(m.To + originSuffix); err != nil {
			return err
		}
		system.RemoveEmptyDirs(filepath.Dir(m.To), t.tree.ModuleDir(t.ID.Name))
	}
	return nil
}

// abandon deletes what was staged for changes that were never begun.
func (t *transaction) abandon() {
	for _, c := range t.Changes {
		if c.Staged != "" {
			os.Remove(c.Staged)
		}
	}
	t.tidy()
}

func (t *transaction) sync() error {
	dirs := map[string]bool{}
	for _, c := range t.Changes {
		dirs[filepath.Dir(c.Path)] = true
	}
	for _, m := range t.Moves {
		dirs[filepath.Dir(m.From)], dirs[filepath.Dir(m.To)] = true, true
	}
	for dir := range dirs {
		if !system.IsDir(dir) {
			continue
		}
		if err := system.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// maxJournal bounds the journal that is read back, in bytes.
const maxJournal = 16 << 20

// Unfinished tells whether an interrupted run has left its journal.
func Unfinished(t *tree.Tree) bool { return exists(journalPath(t)) }

// ErrJournal is the error of a journal that says nothing that can be done: it
// is damaged, or somebody else's.
var ErrJournal = errors.New("not a journal that this program understands")

func readJournal(state *tree.Tree) (*transaction, error) {
	t := &transaction{tree: state, journal: journalPath(state)}
	st, err := os.Lstat(t.journal)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxJournal {
		return nil, fmt.Errorf("%s: %w", t.journal, ErrJournal)
	}
	data, err := os.ReadFile(t.journal)
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
func SetAside(t *tree.Tree) (string, error) {
	aside := journalPath(t) + ".refused"
	return aside, os.Rename(journalPath(t), aside)
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
		return t.ID, t.Target, t.undo()
	}
	in.Report.Warnf("%s: an interrupted change for %s is finished", t.ID, t.Target)
	if err := in.record(t); err != nil {
		return t.ID, t.Target, err
	}
	return t.ID, t.Target, t.finish()
}

// settle deals with a change that this run, or one before it, has left.
func (in *Installer) settle() error {
	if !Unfinished(in.Tree) {
		return nil
	}
	_, _, err := in.Recover()
	return err
}

// check refuses a journal that leads out of the directories that transactions
// are about: whoever can write it is root, but a damaged one must not make
// things worse.
func (t *transaction) check() error {
	if err := errors.Join(t.ID.Check(), t.Target.Check()); err != nil {
		return err
	}
	modules, archive := t.moduleDir(), t.tree.Originals(t.ID.Name, t.Target)
	for _, c := range t.Changes {
		for _, path := range []string{c.Path, c.Staged, c.Backup} {
			if path != "" && !inside(modules, path) {
				return fmt.Errorf("%s is outside %s", path, modules)
			}
		}
		if c.Path == "" || c.Staged == "" && c.Backup == "" {
			return errors.New("a change of nothing")
		}
	}
	for _, m := range t.Moves {
		from, to := modules, archive
		if t.Active == "" {
			from, to = to, from
		}
		if !inside(from, m.From) || !inside(to, m.To) {
			return fmt.Errorf("%s cannot come from %s", m.To, m.From)
		}
	}
	return nil
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
	for _, v := range in.Tree.Versions(t.ID.Name) {
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
		if err != nil {
			return err
		}
		m.Installed = append(m.Installed, i)
	}
	return m.Save(in.Tree.BuildDir(t.ID, t.Target))
}
