// Package tree is the state that DKMS keeps under /var/lib/dkms: which module
// versions are registered, built and installed, for which kernels.
//
// It guarantees the layout of DKMS 3.x in both directions: it reads the state
// of the original correctly, and all its additions are hidden files that the
// original ignores. One writer at a time holds the tree; readers need no lock.
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

// String is the form of the command line and of status: NAME/VERSION.
func (id ID) String() string { return id.Name + "/" + id.Version }

// Check refuses an ID whose parts are not plain path components: all paths are
// made by joining the parts.
func (id ID) Check() error {
	for _, part := range [...][2]string{{"module name", id.Name}, {"module version", id.Version}} {
		if !system.PlainName(part[1]) {
			return exit.Errorf(exit.Usage, "%s %q is not a plain name", part[0], part[1])
		}
	}
	if id.Version == originalsName {
		return exit.Errorf(exit.Usage, "%q cannot be a version: the dkms tree keeps that name for itself", id.Version)
	}
	return nil
}

// originalsName is the directory, beside the versions of a package, that keeps
// the modules of the kernel that the package replaced.
const originalsName = "original_module"

// Target is one kernel release on one architecture.
type Target struct{ Kernel, Arch string }

func (t Target) String() string { return t.Kernel + " (" + t.Arch + ")" }

// Check refuses a target whose parts are not plain path components.
func (t Target) Check() error {
	if t.Kernel == "" || t.Arch == "" {
		return exit.Errorf(exit.EmptyTarget, "kernel release or architecture is empty")
	}
	for _, part := range [...][2]string{{"kernel release", t.Kernel}, {"architecture", t.Arch}} {
		if !system.PlainName(part[1]) {
			return exit.Errorf(exit.Usage, "%s %q is not a plain name", part[0], part[1])
		}
	}
	if slices.Contains(special, t.Kernel) {
		return exit.Errorf(exit.Usage, "%q cannot be a kernel release: the dkms tree keeps that name for itself", t.Kernel)
	}
	return nil
}

// sourceName and scratchName are the directory entries of a version besides its
// kernels.
const (
	sourceName  = "source"
	scratchName = "build"
)

// special are the directory entries of a version that are not kernels.
var special = []string{"build", "tarball", "source", "driver_disk", "rpm", "deb"}

// Tree is one dkms tree.
type Tree struct {
	root system.Root
	dir  string
}

// Open returns the dkms tree of root. It neither reads nor makes anything.
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
func (t *Tree) SourceLink(id ID) string { return filepath.Join(t.dir, id.Name, id.Version, sourceName) }

// Sources is the directory in which add looks for the sources of a version.
func (t *Tree) Sources(id ID) string {
	return filepath.Join(t.root.SourceTree(), id.Name+"-"+id.Version)
}

// Conf is the dkms.conf of an added version.
func (t *Tree) Conf(id ID) string { return filepath.Join(t.SourceLink(id), "dkms.conf") }

// ScratchDir is the directory in which a version is compiled.
func (t *Tree) ScratchDir(id ID) string { return filepath.Join(t.VersionDir(id), scratchName) }

// PrivateDir is the directory that a running build of a version for a target
// has to itself.
func (t *Tree) PrivateDir(id ID, k Target) string {
	return filepath.Join(t.VersionDir(id), privatePrefix+k.Kernel+"_"+k.Arch)
}

const privatePrefix = StagePrefix + "build_"

// PrivateDirs lists the directories of running or interrupted builds of a
// version.
func (t *Tree) PrivateDirs(id ID) []string {
	names, _ := system.Match(t.VersionDir(id), privatePrefix, "")
	for i, name := range names {
		names[i] = filepath.Join(t.VersionDir(id), name)
	}
	return names
}

// BuildDir is the directory of the kept build of a version for a target.
func (t *Tree) BuildDir(id ID, k Target) string {
	return filepath.Join(t.dir, id.Name, id.Version, k.Kernel, k.Arch)
}

// Modules is the directory of the built module files.
func (t *Tree) Modules(id ID, k Target) string {
	return filepath.Join(t.dir, id.Name, id.Version, k.Kernel, k.Arch, "module")
}

// Log is the log of a successful build.
func (t *Tree) Log(id ID, k Target) string {
	return filepath.Join(t.BuildDir(id, k), "log", "make.log")
}

// ScratchLog is the log of a running or failed build.
func (t *Tree) ScratchLog(id ID) string { return filepath.Join(t.ScratchDir(id), "make.log") }

// ActiveLink is the link that names the version installed for a target.
func (t *Tree) ActiveLink(name string, k Target) string {
	return filepath.Join(t.dir, name, "kernel-"+k.Kernel+"-"+k.Arch)
}

// Originals is the directory of the kernel's modules that a package replaced.
func (t *Tree) Originals(name string, k Target) string {
	return filepath.Join(t.dir, name, originalsName, k.Kernel, k.Arch)
}

// State is the state of a module version.
type State int

// These are the states of a version. A version whose link and sources are both
// gone counts as Absent: the original does not see it either.
const (
	Absent State = iota
	Added
	Broken
	// Restored: an undo has brought back builds of a version that is not
	// registered.
	Restored
)

// State tells whether a version is added, broken or neither.
func (t *Tree) State(id ID) State {
	state, _ := t.state(id)
	return state
}

func (t *Tree) state(id ID) (State, error) {
	link := t.SourceLink(id)
	st, err := os.Lstat(link)
	isLink := err == nil && st.Mode()&fs.ModeSymlink != 0
	switch {
	case isLink && system.IsDir(link):
		return Added, nil
	case err != nil && !isGone(err):
		return Broken, err
	case !system.IsDir(t.VersionDir(id)): // another process may have removed the version meanwhile
		return Absent, nil
	case system.IsFile(filepath.Join(t.VersionDir(id), restoredName)):
		return Restored, nil
	case isLink, system.IsDir(t.Sources(id)):
		return Broken, nil
	default:
		return Absent, nil
	}
}

// isGone distinguishes the error of a missing file from that of an unreadable
// one: only a missing file counts as nothing.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// IsBuilt tells whether a version has a build for a target.
func (t *Tree) IsBuilt(id ID, k Target) bool { return system.IsDir(t.Modules(id, k)) }

// Active is the version of a package that is installed for a target, or "".
func (t *Tree) Active(name string, k Target) string {
	text, err := os.Readlink(t.ActiveLink(name, k))
	if err != nil {
		return ""
	}
	below := "/" + k.Kernel + "/" + k.Arch
	if version, ok := strings.CutSuffix(text, below); ok && system.PlainName(version) { // as almost every link is
		return version
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(t.ModuleDir(name), text)
	}
	rest, ok := strings.CutSuffix(filepath.Clean(text), below)
	if !ok {
		return ""
	}
	version := filepath.Base(rest)
	if filepath.Dir(rest) != t.ModuleDir(name) && !system.SameFile(rest, filepath.Join(t.ModuleDir(name), version)) {
		return ""
	}
	return version
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
	entries, err := system.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name, ".") && isDirEntry(t.dir, e) {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

func isDirEntry(dir string, e system.Dirent) bool {
	if e.Kind == unix.DT_LNK {
		return system.IsDir(filepath.Join(dir, e.Name))
	}
	return e.IsDir()
}

// Versions lists the versions of a package with their builds, in byte order. It
// leaves out directories that are not versions, and whatever vanishes during
// the reading, because readers take no lock. If something cannot be read,
// Versions returns an error and the rest of the list.
func (t *Tree) Versions(name string) ([]Version, error) {
	list, err := t.Known(name)
	list, bad := t.WithBuilds(list)
	return list, errors.Join(err, bad)
}

// WithBuilds adds their builds to versions.
func (t *Tree) WithBuilds(list []Version) ([]Version, error) {
	list = slices.Clone(list)
	var err error
	for i := range list {
		var bad error
		list[i].Builds, bad = t.builds(list[i].ID)
		err = errors.Join(err, bad)
	}
	return list, err
}

// Known is [Tree.Versions] without the search for builds, at a fraction of the
// cost.
func (t *Tree) Known(name string) ([]Version, error) {
	entries, err := readDir(t.ModuleDir(name))
	var list []Version
	for _, e := range entries {
		if strings.HasPrefix(e.Name, ".") || e.Name == originalsName {
			continue
		}
		if strings.HasPrefix(e.Name, "kernel-") && strings.Count(e.Name, "-") > 1 || !isDirEntry(t.ModuleDir(name), e) {
			continue
		}
		id := ID{name, e.Name}
		state, bad := t.state(id)
		list, err = append(list, Version{ID: id, State: state}), errors.Join(err, bad)
	}
	return list, err
}

// readDir reads a directory that may have vanished.
func readDir(dir string) ([]system.Dirent, error) {
	entries, err := system.ReadDir(dir)
	if isGone(err) {
		return nil, nil
	}
	return entries, err
}

func (t *Tree) builds(id ID) ([]Build, error) {
	kernels, err := readDir(t.VersionDir(id))
	var list []Build
	for _, k := range kernels {
		if strings.HasPrefix(k.Name, ".") || slices.Contains(special, k.Name) || !k.IsDir() {
			continue
		}
		arches, bad := readDir(filepath.Join(t.VersionDir(id), k.Name))
		err = errors.Join(err, bad)
		for _, a := range arches {
			target := Target{k.Name, a.Name}
			if strings.HasPrefix(a.Name, ".") {
				continue
			}
			switch st, bad := os.Stat(t.Modules(id, target)); {
			case bad == nil && st.IsDir():
				list = append(list, Build{target, t.Active(id.Name, target) == id.Version})
			case bad != nil && !isGone(bad):
				err = errors.Join(err, bad)
			}
		}
	}
	return list, err
}

// All lists every version of every package.
func (t *Tree) All() ([]Version, error) { return t.each(t.Versions) }

// Registered lists every version of every package without its builds, at a
// fraction of the cost of [Tree.All].
func (t *Tree) Registered() ([]Version, error) { return t.each(t.Known) }

func (t *Tree) each(versions func(name string) ([]Version, error)) ([]Version, error) {
	names, err := t.Names()
	var list []Version
	for _, name := range names {
		some, bad := versions(name)
		list, err = append(list, some...), errors.Join(err, bad)
	}
	return list, err
}

// Add registers a version: it makes the directory, an empty scratch directory
// and the link to the sources.
func (t *Writer) Add(id ID, sources string) error {
	if _, err := os.Lstat(t.VersionDir(id)); err == nil {
		if err := os.MkdirAll(t.ScratchDir(id), 0o755); err != nil {
			return err
		}
		if err := system.ReplaceLink(t.SourceLink(id), sources); err != nil {
			return err
		}
		os.Remove(filepath.Join(t.VersionDir(id), restoredName))
		return nil
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
		os.Remove(t.ModuleDir(id.Name)) // fails, as intended, if the directory is not empty
	}
	return err
}

// Activate makes a version the installed version for a target.
func (t *Writer) Activate(id ID, k Target) error {
	return system.ReplaceLink(t.ActiveLink(id.Name, k), filepath.Join(id.Version, k.Kernel, k.Arch))
}

// Deactivate records that no version of a package is installed for a target.
func (t *Writer) Deactivate(name string, k Target) error {
	if err := os.Remove(t.ActiveLink(name, k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return system.SyncDir(t.ModuleDir(name))
}

// DropBuild takes the build of a version for a target out, and deletes the
// directory of the kernel if nothing else is in it. A build that was ever
// installed becomes a previous build, see [Writer.KeepBuilds].
func (t *Writer) DropBuild(id ID, k Target) error {
	if err := errors.Join(id.Check(), k.Check()); err != nil {
		return err // an empty name or ".." would delete more
	}
	if dir := t.BuildDir(id, k); !t.retire(dir, id, k) {
		if err := removeWhole(dir); err != nil {
			return err
		}
	}
	t.ForgetFailure(id, k)
	t.ForgetAnswer(id, k)
	return t.tidyKernel(id, k)
}

// tidyKernel deletes the directory of a kernel and the interrupted stages for
// the target in it, if the directory has no build left and no stage for another
// architecture.
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

// Forget deletes a version from the tree, and the directory of the package when
// no version is left. The sources stay.
func (t *Writer) Forget(id ID) error {
	if err := id.Check(); err != nil {
		return err
	}
	if err := removeWhole(t.VersionDir(id)); err != nil {
		return err
	}
	// The directory stays if it has other versions, links or archived
	// originals, if it is a link itself, or if something is mounted on it.
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

// pendingPrefix is the prefix of marks that say that the index of a kernel is
// out of date; the original writes the same marks temporarily.
const pendingPrefix = "depmod-pending-"

// MarkPending records, before the modules of a kernel change, that depmod has
// to run afterwards. The mark survives a crash.
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

// maxNote bounds how many bytes of a small file are read.
const maxNote = 4 << 10

// Pending lists the kernels whose index is out of date.
func (t *Tree) Pending() []Target {
	marks, _ := system.Match(t.dir, pendingPrefix, "")
	var list []Target
	for _, m := range marks {
		data, err := system.ReadRegular(filepath.Join(t.dir, m), maxNote)
		kernel, arch, ok := strings.Cut(strings.TrimSpace(string(data)), "\n")
		k := Target{kernel, arch}
		if err == nil && ok && k.Check() == nil {
			list = append(list, k)
		}
	}
	return list
}
