package tree

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"dkms/pkg/system"
	vers "dkms/pkg/version"
)

// keptName is the directory of previous builds, NAME/KERNEL/ARCH/DIGEST below
// it. The name is hidden, so that the original ignores the directory.
const keptName = ".kept"

// KeptDir is the directory of the previous builds of a package for a target.
func (t *Tree) KeptDir(name string, k Target) string {
	return filepath.Join(t.dir, keptName, name, k.Kernel, k.Arch)
}

// keptPath is the directory of a previous build: the same modules of the same
// version are kept once.
func (t *Tree) keptPath(m *Manifest) string {
	h := sha256.New()
	fmt.Fprintln(h, m.Version)
	for _, f := range m.Files {
		fmt.Fprintln(h, f.Name, f.SHA256)
	}
	return filepath.Join(t.KeptDir(m.Module, Target{m.Kernel, m.Arch}), hex.EncodeToString(h.Sum(nil))[:16])
}

// kept lists the directories of the previous builds of a package for a target,
// the last one that was installed first, and their manifests.
func (t *Tree) kept(name string, k Target) (dirs []string, manifests map[string]*Manifest) {
	manifests = map[string]*Manifest{}
	entries, _ := os.ReadDir(t.KeptDir(name, k))
	for _, e := range entries {
		dir := filepath.Join(t.KeptDir(name, k), e.Name())
		var m Manifest
		if readJSON(filepath.Join(dir, manifestName), &m) != nil || m.Schema != manifestSchema || m.Module != name || m.Kernel != k.Kernel || m.Arch != k.Arch {
			continue
		}
		dirs, manifests[dir] = append(dirs, dir), &m
	}
	slices.SortFunc(dirs, func(a, b string) int { return manifests[b].Used.Compare(manifests[a].Used) })
	return dirs, manifests
}

// KeptBuild finds a previous build of a version for a target that wanted
// accepts; dir is empty if there is none.
func (t *Tree) KeptBuild(id ID, k Target, wanted func(*Manifest) bool) (dir string, m *Manifest) {
	dirs, manifests := t.kept(id.Name, k)
	for _, dir := range dirs {
		if m := manifests[dir]; m.Version == id.Version && wanted(m) {
			return dir, m
		}
	}
	return "", nil
}

// ImagesNote is the path of what is known about the initramfs images of a target.
func (t *Tree) ImagesNote(k Target) string {
	return filepath.Join(t.dir, ".initramfs-"+k.Kernel+"-"+k.Arch+noteSuffix)
}

// HeadersNote is the path of the digest of a target's headers.
func (t *Tree) HeadersNote(k Target) string {
	return filepath.Join(t.dir, ".headers-"+k.Kernel+"-"+k.Arch)
}

// IndexNote is the path of what is known about the module index of a target.
func (t *Tree) IndexNote(k Target) string {
	return filepath.Join(t.dir, ".index-"+k.Kernel+"-"+k.Arch)
}

// KeptTargets lists the targets with previous or rehearsed builds.
func (t *Tree) KeptTargets() (list []Target) {
	for _, dir := range system.Glob(t.dir, keptName+"/*/*/*") {
		list = append(list, Target{filepath.Base(filepath.Dir(dir)), filepath.Base(dir)})
	}
	for _, k := range t.rehearsed() {
		list = append(list, k)
	}
	list = slices.DeleteFunc(list, func(k Target) bool { return k.Check() != nil })
	slices.SortFunc(list, func(a, b Target) int {
		return cmp.Or(vers.Natural(a.Kernel, b.Kernel), cmp.Compare(a.Arch, b.Arch))
	})
	return slices.Compact(list)
}

// retire keeps a build that goes, in dir, if it was ever installed, and tells
// whether it has; otherwise the build stays where it is. Of the previous builds of
// a package for a target, the last [Writer.KeepBuilds] are kept. A build that
// cannot be moved is not kept: an old build is worth no failure.
func (t *Writer) retire(dir string, id ID, k Target) (kept bool) {
	m, err := manifestIn(dir, id, k)
	if t.KeepBuilds == 0 || err != nil || m == nil || m.Used.IsZero() || m.Unfinished || len(m.Files) == 0 {
		return false
	}
	to := t.keptPath(m)
	if os.MkdirAll(filepath.Dir(to), 0o755) != nil || os.RemoveAll(to) != nil || os.Rename(dir, to) != nil {
		return false
	}
	t.pruneKept(id.Name, k)
	return true
}

// pruneKept deletes the previous builds that are too many.
func (t *Writer) pruneKept(name string, k Target) {
	dirs, _ := t.kept(name, k)
	for _, dir := range dirs[min(len(dirs), t.KeepBuilds):] {
		os.RemoveAll(dir)
	}
}

// DropKept deletes the previous and the rehearsed builds for a target whose kernel
// goes, and what is known about its headers, module index and initramfs images.
func (t *Writer) DropKept(k Target) error {
	if err := k.Check(); err != nil {
		return err
	}
	os.Remove(t.ImagesNote(k))
	os.Remove(t.HeadersNote(k))
	os.Remove(t.IndexNote(k))
	var err error
	for dir, of := range t.rehearsed() {
		if of == k {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	os.Remove(filepath.Join(t.dir, rehearsedName)) // if it is empty
	for _, dir := range system.Glob(filepath.Join(t.dir, keptName), "*/"+system.GlobQuote(k.Kernel)+"/"+system.GlobQuote(k.Arch)) {
		err = errors.Join(err, os.RemoveAll(dir))
		system.RemoveEmptyDirs(filepath.Dir(dir), t.dir)
	}
	return err
}

// Reinstate puts a previous build, in the directory dir of [Tree.KeptBuild],
// back into the tree. A build that it replaces is kept in turn.
func (t *Writer) Reinstate(ctx context.Context, dir string, id ID, k Target) error {
	stage, err := t.Stage(id, k)
	if err != nil {
		return err
	}
	// dir itself stays until its copy is in its place: an interrupted undo can
	// be repeated.
	if err = stage.copyOf(ctx, dir); err == nil {
		err = stage.Swap()
	}
	if err != nil {
		return errors.Join(err, stage.Discard())
	}
	os.RemoveAll(dir)
	return stage.Discard()
}

// copyOf makes the stage a durable copy of another build.
func (s *Stage) copyOf(ctx context.Context, dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if err := system.CopyTree(ctx, s.Dir, dir, true); err != nil {
		return err
	}
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		return err
	}
	m, err := s.Manifest()
	if err != nil || m == nil {
		return cmp.Or(err, fmt.Errorf("%s: no manifest", dir))
	}
	for _, f := range m.Files {
		if err := syncFile(filepath.Join(s.Modules(), filepath.Base(f.Name))); err != nil {
			return err
		}
	}
	return s.Save(m)
}

func syncFile(path string) error {
	f, _, err := system.OpenPlain(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// restoredName is the mark of a version that has builds and no sources.
const restoredName = ".restored"

// MarkRestored makes a version that is not registered count as Restored.
func (t *Writer) MarkRestored(id ID) error {
	if err := id.Check(); err != nil {
		return err
	}
	if t.State(id) != Absent {
		return nil
	}
	if err := os.MkdirAll(t.VersionDir(id), 0o755); err != nil {
		return err
	}
	return system.WriteFile(filepath.Join(t.VersionDir(id), restoredName), nil, 0o644)
}

// Hold says that a version is not to be installed for a target on its own
// account, because a run has undone its installation. The hold ends when the
// sources change, when the version is removed, and when somebody installs it.
type Hold struct {
	Schema int `json:"schema"`
	// Run is the run that has undone the installation.
	Run int `json:"run"`
	// Sources is the digest of the sources at that time, and SourcesStamp tells
	// cheaply whether the sources may have changed since.
	Sources      string `json:"sources"`
	SourcesStamp uint64 `json:"sources_stamp,string"`
}

const holdPrefix = ".held-"

func (t *Tree) holdPath(id ID, k Target) string { return t.notePath(holdPrefix, id, k) }

// Hold reads the hold on a version for a target, or nil.
func (t *Tree) Hold(id ID, k Target) *Hold {
	var h Hold
	if readJSON(t.holdPath(id, k), &h) != nil || h.Schema != manifestSchema {
		return nil
	}
	return &h
}

// RecordHold records h.
func (t *Writer) RecordHold(id ID, k Target, h Hold) error {
	h.Schema = manifestSchema
	return writeJSON(t.holdPath(id, k), &h)
}

// ForgetHold deletes the hold on a version for a target.
func (t *Writer) ForgetHold(id ID, k Target) error {
	if err := os.Remove(t.holdPath(id, k)); err != nil && !isGone(err) {
		return err
	}
	return nil
}
