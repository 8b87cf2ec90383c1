package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// transaction is a set of changes to the install tree that happen together. The
// order is: write the journal, stage and sync all new files beside their
// places, make the changes, and last change the link that names the installed
// version. After a crash, the link decides: if it names the new version, the
// replaced files are deleted; otherwise everything is put back. If a version is
// installed over itself, the link is the same before and after, so Done in the
// journal decides.
type transaction struct {
	Schema int         `json:"schema"`
	ID     tree.ID     `json:"id"`
	Target tree.Target `json:"target"`
	// Before and Active are the versions that the link names before and after
	// the transaction, or "".
	Before string `json:"before"`
	Active string `json:"active"`
	// Done says that all changes are made. It decides if Before and Active are
	// the same.
	Done bool `json:"done,omitempty"`
	// Moves are originals to be moved into the archive or back.
	Moves []move `json:"moves,omitempty"`
	// Changes are the files to be created, deleted or replaced.
	Changes []change `json:"changes,omitempty"`

	tree    *tree.Writer
	journal string
}

type move struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// change is the change of one path. Staged is the new file, or "" to delete the
// path. Backup keeps the old file until the end, or is "" if there was none.
// Source is the file to copy. Contents is the digest of the new file, or the
// target of a new link: only a file with these contents comes from this change.
type change struct {
	Path     string `json:"path"`
	Staged   string `json:"staged,omitempty"`
	Backup   string `json:"backup,omitempty"`
	Source   string `json:"source,omitempty"`
	Contents string `json:"contents,omitempty"`
}

const journalSchema = 1

// journalPath is hidden, so that the original ignores the file.
func journalPath(t *tree.Tree) string { return filepath.Join(t.Dir(), ".journal.json") }

func newTransaction(t *tree.Writer, id tree.ID, k tree.Target, active string) *transaction {
	return &transaction{
		Schema: journalSchema, ID: id, Target: k, Before: t.Active(id.Name, k), Active: active,
		tree: t, journal: journalPath(t.Tree),
	}
}

// moduleDir is the directory that contains all changes.
func (t *transaction) moduleDir() string {
	return filepath.Join(t.tree.Root().InstallTree(), t.Target.Kernel)
}

// put notes that path will be a copy of the file src.
func (t *transaction) put(path, src string) error {
	sum, err := digestBuilt(src)
	if err != nil {
		return err
	}
	t.change(change{Path: path, Staged: freeName(path), Source: src, Contents: sum})
	return nil
}

// link notes that path will be a symbolic link to target.
func (t *transaction) link(path, target string) {
	t.change(change{Path: path, Staged: freeName(path), Contents: linkMark + target})
}

// remove notes that path will be deleted, unless it is also put.
func (t *transaction) remove(path string) {
	if !t.changes(path) {
		t.change(change{Path: path})
	}
}

// changes tells whether path is among the changes.
func (t *transaction) changes(path string) bool {
	return slices.ContainsFunc(t.Changes, func(c change) bool { return c.Path == path })
}

func (t *transaction) change(c change) {
	archived := slices.ContainsFunc(t.Moves, func(m move) bool { return m.From == c.Path })
	if exists(c.Path) && !archived {
		c.Backup = freeName(c.Path)
	}
	t.Changes = append(t.Changes, c)
}

// linkMark precedes the target of a link in its contents.
const linkMark = "-> "

// contents identifies a file: its digest or, for a link, its target. Inode
// numbers and times cannot identify a file, since a restored backup has others.
func contents(path string) string {
	if to, err := os.Readlink(path); err == nil {
		return linkMark + to
	}
	sum, _ := digest(path)
	return sum
}

// freeName is a path beside path that does not exist.
func freeName(path string) string {
	for {
		name := filepath.Join(filepath.Dir(path), fmt.Sprintf("%s%s.%08x", system.StagePrefix, filepath.Base(path), rand.Uint32()))
		if !exists(name) {
			return name
		}
	}
}

// commit makes the changes and then calls flip to change the link. On an error
// everything is put back, unless the link has changed all the same: then the
// journal stays, and the next run does the rest.
func (t *transaction) commit(ctx context.Context, flip func() error) error {
	err := t.write()
	if err == nil {
		err = t.apply(ctx)
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

// reversible is a staging, a move or a change.
type reversible interface {
	apply(ctx context.Context) error
	undo() error
}

// steps lists the stagings, moves and changes in their order: originals are
// moved out before new files are put in, and are moved back after new files are
// deleted.
func (t *transaction) steps() []reversible {
	var stagings, moves, changes []reversible
	for _, m := range t.Moves {
		moves = append(moves, m)
	}
	for _, c := range t.Changes {
		if c.Staged != "" {
			stagings = append(stagings, staging(c))
		}
		changes = append(changes, c)
	}
	if t.Active == "" {
		return slices.Concat(stagings, changes, moves)
	}
	return slices.Concat(stagings, moves, changes)
}

// staging creates the new file of a change.
type staging change

func (s staging) apply(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o755); err != nil {
		return err
	}
	if target, ok := strings.CutPrefix(s.Contents, linkMark); ok {
		return os.Symlink(target, s.Staged)
	}
	return system.CopySynced(ctx, s.Staged, s.Source, 0o644)
}

func (s staging) undo() error { return removeFile(s.Staged) }

func (t *transaction) apply(ctx context.Context) error {
	for _, m := range t.Moves {
		if t.Active == "" {
			break
		}
		if err := noteOrigin(m.From, m.To); err != nil {
			return err
		}
	}
	for _, s := range t.steps() {
		if err := s.apply(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m move) apply(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(m.To), 0o755); err != nil {
		return err
	}
	return moveFile(ctx, m.From, m.To)
}

// apply changes one path. A path that is replaced exists at every moment.
func (c change) apply(context.Context) error {
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

// undo puts everything back, however far apply got, and deletes the journal.
func (t *transaction) undo() error {
	var errs []error
	// If the kernel is gone, an original stays in the archive: putting the
	// original back would create a module directory for no kernel.
	kernel := system.IsDir(t.moduleDir())
	for _, s := range slices.Backward(t.steps()) {
		if _, original := s.(move); original && !kernel {
			continue
		}
		if !t.untouched(s) {
			errs = append(errs, s.undo())
		}
	}
	if err := errors.Join(append(errs, t.sync())...); err != nil {
		return fmt.Errorf("%w; %s says what is to be put back", err, t.journal)
	}
	if err := t.forgetArchive(); err != nil {
		return err
	}
	return t.drop()
}

// tidy deletes directories that have become empty.
func (t *transaction) tidy() error {
	var errs []error
	for _, c := range t.Changes {
		errs = append(errs, removeEmpty(filepath.Dir(c.Path), t.moduleDir()))
	}
	for _, m := range t.Moves {
		for _, path := range []string{m.From, m.To} {
			if inside(t.tree.Dir(), path) {
				errs = append(errs, removeEmpty(filepath.Dir(path), t.tree.ModuleDir(t.ID.Name)))
			}
		}
	}
	return errors.Join(errs...)
}

// removeEmpty deletes dir and then its parents, while they are empty and below
// stop.
func removeEmpty(dir, stop string) error {
	for ; inside(stop, dir); dir = filepath.Dir(dir) {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTDIR),
			errors.Is(err, unix.EROFS): // returned even for directories that do not exist
			return nil
		default:
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// untouched tells whether a step that shares its path with another step has not
// been made, or has been undone: the path still has its old file.
func (t *transaction) untouched(s reversible) bool {
	switch s := s.(type) {
	case change: // the original that the new file replaces
		return s.Backup == "" && !exists(s.Staged) &&
			slices.ContainsFunc(t.Moves, func(m move) bool { return m.From == s.Path && !exists(m.To) })
	case move: // the module that the original replaces
		return slices.ContainsFunc(t.Changes, func(c change) bool { return c.Path == s.To && c.Backup != "" && !exists(c.Backup) })
	}
	return false
}

func (c change) undo() error {
	switch {
	case c.Backup != "" && exists(c.Backup):
		if err := os.Rename(c.Backup, c.Path); err != nil {
			return err
		}
		// rename(2) does nothing if both names are links to one file.
		return removeFile(c.Backup)
	case c.Backup == "" && !exists(c.Staged) && contents(c.Path) == c.Contents:
		return removeFile(c.Path)
	}
	return nil
}

// undo moves the file back. If both files exist, one of them is a copy if they
// are the same; otherwise it is somebody else's file.
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
	return moveFile(context.Background(), m.To, m.From) // undo must not be interrupted
}

func sameContents(a, b string) bool {
	sumA, errA := digest(a)
	sumB, errB := digest(b)
	return errA == nil && errB == nil && sumA == sumB
}

// finish deletes the replaced files and the journal.
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
	return t.drop()
}

// drop deletes the journal, as the last step.
func (t *transaction) drop() error {
	if err := t.tidy(); err != nil {
		return err
	}
	if err := removeFile(t.journal); err != nil {
		return err
	}
	return system.SyncDir(filepath.Dir(t.journal))
}

// forgetArchive deletes the notes of originals that were not archived after
// all.
func (t *transaction) forgetArchive() error {
	for _, m := range t.Moves {
		if t.Active == "" || exists(m.To) {
			continue
		}
		if err := removeFile(m.To + originSuffix); err != nil {
			return err
		}
	}
	return nil
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
	if !exists(path) {
		return nil // on a read-only file system, Remove would only report that
	}
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
