// Package tree is the state that DKMS keeps under /var/lib/dkms: which module
// versions are registered, built and installed, for which kernels.
//
// It guarantees the layout of DKMS 3.x in both directions: what the shell
// original left is read right, and everything that is not its own lies in
// hidden files that the original passes over. One writer at a time holds the
// tree; readers need no lock.
package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// ID names one version of one module package.
type ID struct{ Name, Version string }

// String is the form that the command line and status use: NAME/VERSION.
func (id ID) String() string { return id.Name + "/" + id.Version }

// Check refuses an ID whose parts are not plain path components: everything
// below is built by joining them to the trees.
func (id ID) Check() error {
	for what, s := range map[string]string{"module name": id.Name, "module version": id.Version} {
		if !system.PlainName(s) {
			return exit.Errorf(exit.Usage, "%s %q is not a plain name", what, s)
		}
	}
	if id.Version == originalsName {
		return exit.Errorf(exit.Usage, "%q cannot be a version: the dkms tree keeps that name for itself", id.Version)
	}
	return nil
}

// originalsName is the directory beside the versions of a package that keeps
// what it displaced.
const originalsName = "original_module"

// Target is one kernel release on one architecture.
type Target struct{ Kernel, Arch string }

func (t Target) String() string { return t.Kernel + " (" + t.Arch + ")" }

// Check refuses a target whose parts are not plain path components.
func (t Target) Check() error {
	if t.Kernel == "" || t.Arch == "" {
		return exit.Errorf(exit.EmptyTarget, "kernel release or architecture is empty")
	}
	for what, s := range map[string]string{"kernel release": t.Kernel, "architecture": t.Arch} {
		if !system.PlainName(s) {
			return exit.Errorf(exit.Usage, "%s %q is not a plain name", what, s)
		}
	}
	if slices.Contains(special, t.Kernel) {
		return exit.Errorf(exit.Usage, "%q cannot be a kernel release: the dkms tree keeps that name for itself", t.Kernel)
	}
	return nil
}

// sourceName and scratchName are what a version has beside its kernels.
const (
	sourceName  = "source"
	scratchName = "build"
)

// special are the names beside the kernels of a version that are not kernels.
var special = []string{"build", "tarball", "source", "driver_disk", "rpm", "deb"}

// Tree is one dkms tree.
type Tree struct {
	root system.Root
	dir  string
}

// Open returns the dkms tree of root. Nothing is read or made.
func Open(root system.Root) *Tree { return &Tree{root: root, dir: filepath.Clean(root.StateTree())} }

// Dir is the directory of the tree.
func (t *Tree) Dir() string { return t.dir }

// Root is the root that the tree was opened with.
func (t *Tree) Root() system.Root { return t.root }

// ModuleDir is the directory of all versions of a module package.
func (t *Tree) ModuleDir(name string) string { return filepath.Join(t.dir, name) }

// VersionDir is the directory of one version.
func (t *Tree) VersionDir(id ID) string { return filepath.Join(t.dir, id.Name, id.Version) }

// SourceLink is the link from a version to its sources.
func (t *Tree) SourceLink(id ID) string { return filepath.Join(t.VersionDir(id), sourceName) }

// Sources is where the sources of a version are looked for when it is added.
func (t *Tree) Sources(id ID) string {
	return filepath.Join(t.root.SourceTree(), id.Name+"-"+id.Version)
}

// Conf is the dkms.conf of an added version.
func (t *Tree) Conf(id ID) string { return filepath.Join(t.SourceLink(id), "dkms.conf") }

// ScratchDir is where a version is compiled.
func (t *Tree) ScratchDir(id ID) string { return filepath.Join(t.VersionDir(id), scratchName) }

// PrivateDir is what a build of a version for a target has to itself while it
// runs.
func (t *Tree) PrivateDir(id ID, k Target) string {
	return filepath.Join(t.VersionDir(id), StagePrefix+"build_"+k.Kernel+"_"+k.Arch)
}

// BuildDir is where the build of a version for a target is kept.
func (t *Tree) BuildDir(id ID, k Target) string {
	return filepath.Join(t.VersionDir(id), k.Kernel, k.Arch)
}

// Modules is the directory of the built module files.
func (t *Tree) Modules(id ID, k Target) string { return filepath.Join(t.BuildDir(id, k), "module") }

// Log is the log of a successful build.
func (t *Tree) Log(id ID, k Target) string {
	return filepath.Join(t.BuildDir(id, k), "log", "make.log")
}

// ScratchLog is the log of a build that runs or has failed.
func (t *Tree) ScratchLog(id ID) string { return filepath.Join(t.ScratchDir(id), "make.log") }

// ActiveLink is the link that says which version is installed for a target.
func (t *Tree) ActiveLink(name string, k Target) string {
	return filepath.Join(t.dir, name, "kernel-"+k.Kernel+"-"+k.Arch)
}

// Originals is where modules of the kernel that a package displaced are kept.
func (t *Tree) Originals(name string, k Target) string {
	return filepath.Join(t.dir, name, originalsName, k.Kernel, k.Arch)
}

// State is what is known of a module version.
type State int

// The states of a version. Absent is also a version whose link and sources
// are both gone: the original does not see it either.
const (
	Absent State = iota
	Added
	Broken
)

// State tells whether a version is added, broken or neither.
func (t *Tree) State(id ID) State {
	link := t.SourceLink(id)
	st, err := os.Lstat(link)
	isLink := err == nil && st.Mode()&fs.ModeSymlink != 0
	switch {
	case isLink && system.IsDir(link):
		return Added
	case !system.IsDir(t.VersionDir(id)): // maybe it was removed while this was looking
		return Absent
	case isLink, system.IsDir(t.Sources(id)):
		return Broken
	default:
		return Absent
	}
}

// IsBuilt tells whether a version has a build for a target.
func (t *Tree) IsBuilt(id ID, k Target) bool { return system.IsDir(t.Modules(id, k)) }

// Active is the version of a package that is installed for a target, or "".
func (t *Tree) Active(name string, k Target) string {
	text, err := os.Readlink(t.ActiveLink(name, k))
	if err != nil {
		return ""
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(t.ModuleDir(name), text)
	}
	text = filepath.Clean(text)
	rest, ok := strings.CutSuffix(text, "/"+k.Kernel+"/"+k.Arch)
	if !ok {
		return ""
	}
	version := filepath.Base(rest)
	if filepath.Dir(rest) != t.ModuleDir(name) && !sameDir(rest, filepath.Join(t.ModuleDir(name), version)) {
		return ""
	}
	return version
}

func sameDir(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(sa, sb)
}

// IsInstalled tells whether a version is built and active for a target.
func (t *Tree) IsInstalled(id ID, k Target) bool {
	return t.Active(id.Name, k) == id.Version && t.IsBuilt(id, k)
}

// Build is a kept build.
type Build struct {
	Target
	Installed bool
}

// Version is what the tree holds of one module version.
type Version struct {
	ID
	State  State
	Builds []Build
}

// Names lists the module packages of the tree in byte order.
func (t *Tree) Names() ([]string, error) {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && isDirEntry(t.dir, e) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func isDirEntry(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink != 0 {
		return system.IsDir(filepath.Join(dir, e.Name()))
	}
	return e.IsDir()
}

// Versions lists the versions of a package with their builds, in byte order.
// Directories that are no version are left out, and so is whatever vanishes
// while it is being read: readers take no lock.
func (t *Tree) Versions(name string) []Version {
	list := t.Known(name)
	for i := range list {
		list[i].Builds = t.builds(list[i].ID)
	}
	return list
}

// Known is [Tree.Versions] without a look for builds, which costs a fraction of
// it.
func (t *Tree) Known(name string) []Version {
	entries, err := os.ReadDir(t.ModuleDir(name))
	if err != nil {
		return nil
	}
	var list []Version
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == originalsName {
			continue
		}
		if strings.HasPrefix(e.Name(), "kernel-") && strings.Count(e.Name(), "-") > 1 || !isDirEntry(t.ModuleDir(name), e) {
			continue
		}
		id := ID{name, e.Name()}
		list = append(list, Version{ID: id, State: t.State(id)})
	}
	return list
}

func (t *Tree) builds(id ID) []Build {
	kernels, err := os.ReadDir(t.VersionDir(id))
	if err != nil {
		return nil
	}
	var list []Build
	for _, k := range kernels {
		if strings.HasPrefix(k.Name(), ".") || slices.Contains(special, k.Name()) || !k.IsDir() {
			continue
		}
		arches, _ := os.ReadDir(filepath.Join(t.VersionDir(id), k.Name()))
		for _, a := range arches {
			target := Target{k.Name(), a.Name()}
			if strings.HasPrefix(a.Name(), ".") || !t.IsBuilt(id, target) {
				continue
			}
			list = append(list, Build{target, t.Active(id.Name, target) == id.Version})
		}
	}
	return list
}

// All lists every version of every package.
func (t *Tree) All() ([]Version, error) { return t.each(t.Versions) }

// Registered lists every version of every package without its builds, which
// costs a fraction of [Tree.All].
func (t *Tree) Registered() ([]Version, error) { return t.each(t.Known) }

func (t *Tree) each(versions func(name string) []Version) ([]Version, error) {
	names, err := t.Names()
	var list []Version
	for _, name := range names {
		list = append(list, versions(name)...)
	}
	return list, err
}

// Add registers a version: its directory, an empty scratch directory and the
// link to its sources.
func (t *Writer) Add(id ID, sources string) error {
	if _, err := os.Lstat(t.VersionDir(id)); err == nil {
		if err := os.MkdirAll(t.ScratchDir(id), 0o755); err != nil {
			return err
		}
		return system.ReplaceLink(t.SourceLink(id), sources)
	}
	stage := filepath.Join(t.ModuleDir(id.Name), StagePrefix+id.Version)
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(stage, scratchName), 0o755); err != nil {
		return err
	}
	err := os.Symlink(sources, filepath.Join(stage, sourceName))
	if err == nil {
		err = os.Rename(stage, t.VersionDir(id))
	}
	if err == nil {
		err = system.SyncDir(t.ModuleDir(id.Name))
	}
	if err != nil {
		os.RemoveAll(stage)
		os.Remove(t.ModuleDir(id.Name)) // fails, rightly, if anything is in it
	}
	return err
}

// Activate makes a version the installed one for a target.
func (t *Writer) Activate(id ID, k Target) error {
	return system.ReplaceLink(t.ActiveLink(id.Name, k), filepath.Join(id.Version, k.Kernel, k.Arch))
}

// Deactivate forgets that a package is installed for a target.
func (t *Writer) Deactivate(name string, k Target) error {
	if err := os.Remove(t.ActiveLink(name, k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return system.SyncDir(t.ModuleDir(name))
}

// DropBuild deletes the build of a version for a target, and the directory
// of the kernel when nothing else is in it.
func (t *Writer) DropBuild(id ID, k Target) error {
	if err := errors.Join(id.Check(), k.Check()); err != nil {
		return err // an empty name or ".." would take more with it
	}
	if err := removeWhole(t.BuildDir(id, k)); err != nil {
		return err
	}
	t.ForgetFailure(id, k)
	t.ForgetAnswer(id, k)
	return t.tidyKernel(id, k)
}

// tidyKernel deletes the directory of a kernel, with interrupted stages for the
// target in it, once no build is left there and none for another architecture
// is on its way.
func (t *Writer) tidyKernel(id ID, k Target) error {
	dir := filepath.Join(t.VersionDir(id), k.Kernel)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		staged := strings.HasPrefix(e.Name(), StagePrefix)
		if !strings.HasPrefix(e.Name(), ".") || staged && !strings.HasPrefix(e.Name(), StagePrefix+k.Arch+"_") {
			return nil
		}
	}
	return os.RemoveAll(dir)
}

// Forget deletes a version from the tree, and the directory of the package
// when no version is left. The sources stay.
func (t *Writer) Forget(id ID) error {
	if err := id.Check(); err != nil {
		return err
	}
	if err := removeWhole(t.VersionDir(id)); err != nil {
		return err
	}
	// It stays for other versions, links or archived originals, and where it is
	// a link itself or something is mounted on it.
	err := unix.Rmdir(t.ModuleDir(id.Name))
	for _, fine := range []error{unix.ENOENT, unix.ENOTEMPTY, unix.EEXIST, unix.ENOTDIR, unix.EBUSY} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	if err != nil {
		return &fs.PathError{Op: "rmdir", Path: t.ModuleDir(id.Name), Err: err}
	}
	return nil
}

// pendingPrefix begins the names of the marks that say that the index of a
// kernel is out of date; the original has the same for a while.
const pendingPrefix = "depmod-pending-"

// MarkPending notes, before the modules of a kernel change, that depmod is to
// run afterwards. The mark outlives a crash.
func (t *Writer) MarkPending(k Target) error {
	return system.WriteFile(filepath.Join(t.dir, pendingPrefix+k.Kernel+"-"+k.Arch), []byte(k.Kernel+"\n"+k.Arch+"\n"), 0o644)
}

// ClearPending deletes the mark of a kernel.
func (t *Writer) ClearPending(k Target) error {
	err := os.Remove(filepath.Join(t.dir, pendingPrefix+k.Kernel+"-"+k.Arch))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// maxNote bounds the small files that are read back, in bytes.
const maxNote = 4 << 10

// Pending lists the kernels whose index is out of date.
func (t *Tree) Pending() []Target {
	marks, _ := filepath.Glob(filepath.Join(t.dir, pendingPrefix+"*"))
	var list []Target
	for _, m := range marks {
		data, err := system.ReadRegular(m, maxNote)
		kernel, arch, ok := strings.Cut(strings.TrimSpace(string(data)), "\n")
		k := Target{kernel, arch}
		if err == nil && ok && k.Check() == nil {
			list = append(list, k)
		}
	}
	return list
}
