package install

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Unchanged tells whether an installed file is still what was put there.
func Unchanged(f tree.Installed) bool {
	st, err := os.Lstat(f.Path)
	return err == nil && unchanged(f, st)
}

func unchanged(f tree.Installed, st fs.FileInfo) bool {
	if st.Mode().IsRegular() != f.Link && st.Size() == f.Size && st.ModTime().UnixNano() == f.ModTime {
		return true
	}
	sum, err := digest(f.Path)
	return err == nil && sum == f.SHA256
}

// Sound tells whether what a manifest says was installed is there, whole, made
// of the build that the manifest is about, and known to the index.
func (in *Installer) Sound(m *tree.Manifest, x Index, now time.Time) bool {
	for _, f := range m.Installed {
		st, why := in.look(m, f)
		if why != "" || x.outdated(f.Path, st, now) != "" {
			return false
		}
	}
	return !m.Unfinished
}

// Damage is the first installed file of a manifest that has to be installed
// again, and what is wrong with it. A file that was signed by somebody else
// since, or is a later version of the module, is somebody's decision, and no
// damage.
func (in *Installer) Damage(m *tree.Manifest) (path, why string) {
	for _, f := range m.Installed {
		if _, why := in.look(m, f); why != "" {
			return f.Path, why
		}
	}
	return "", ""
}

// look looks at one installed file of a manifest, and says what is wrong with
// it.
func (in *Installer) look(m *tree.Manifest, f tree.Installed) (fs.FileInfo, string) {
	st, err := os.Lstat(f.Path)
	if err != nil || st.Size() == 0 && f.Size != 0 {
		return nil, "is missing or empty"
	}
	if !unchanged(f, st) {
		if why := in.damaged(m, f); why != "" {
			return st, why
		}
	}
	name := filepath.Base(f.Path)
	for _, built := range m.Files {
		if built.Name == name && built.SHA256 != f.SHA256 {
			return st, "is made of an earlier build" // signed again or built again, and then interrupted
		}
	}
	return st, ""
}

// damaged says what is wrong with a file that is not what was installed.
func (in *Installer) damaged(m *tree.Manifest, f tree.Installed) string {
	have, err := module.Read(f.Path)
	if err != nil {
		return "is damaged"
	}
	if want := kernel.Machine(m.Arch); have.Release() != m.Kernel || want != 0 && have.Machine != want {
		return "was made for another kernel"
	}
	id, k := tree.ID{Name: m.Module, Version: m.Version}, tree.Target{Kernel: m.Kernel, Arch: m.Arch}
	mine := filepath.Join(in.Tree.Modules(id, k), filepath.Base(f.Path))
	if same, err := module.Same(f.Path, mine); err == nil && same {
		return ""
	}
	if own, err := module.Read(mine); err == nil && version.Compare(have.Version, own.Version) > 0 {
		return ""
	}
	return "is not what was installed"
}

// Intact tells whether the files of a build are what its manifest says. One
// without a manifest is taken at its word.
func (in *Installer) Intact(id tree.ID, k tree.Target) bool {
	m, err := in.Tree.Manifest(id, k)
	if err != nil || m == nil {
		return err == nil
	}
	for _, f := range m.Files {
		sum, err := digestBuilt(filepath.Join(in.Tree.Modules(id, k), filepath.Base(f.Name)))
		if err != nil || sum != f.SHA256 {
			return false
		}
	}
	return !m.Unfinished
}

// Usable tells whether a build may be installed because somebody says so: it
// came to its end, and every module of it that is there is a file that can be
// read. What somebody made of the modules by hand is theirs to decide: [Installer.Install]
// wants to be forced then.
func (in *Installer) Usable(id tree.ID, k tree.Target) bool {
	if m, err := in.Tree.Manifest(id, k); err == nil && m != nil && m.Unfinished {
		return false
	}
	entries, err := os.ReadDir(in.Tree.Modules(id, k))
	for _, e := range entries {
		if _, _, ok := module.ParseSuffix(e.Name()); !ok {
			continue
		}
		if _, err := module.Read(filepath.Join(in.Tree.Modules(id, k), e.Name())); err != nil || !e.Type().IsRegular() {
			return false
		}
	}
	return err == nil
}

// Index is the index of a kernel's modules, modules.dep, as it was when it was
// looked at.
type Index struct {
	path string
	st   fs.FileInfo // nil where there is none
}

// LookAtIndex looks at an index, which need not be there.
func LookAtIndex(dep string) Index {
	st, err := os.Stat(dep)
	if err != nil {
		st = nil
	}
	return Index{dep, st}
}

// Outdated says what is wrong with an index that does not know the installed
// files; or it is empty. A kernel without an index is not wholly there, and
// what is of the future tells nothing.
func (x Index) Outdated(installed []tree.Installed, now time.Time) string {
	for _, i := range installed {
		st, _ := os.Lstat(i.Path)
		if why := x.outdated(i.Path, st, now); why != "" {
			return why
		}
	}
	return ""
}

// outdated is [Index.Outdated] for one file; a nil st is one that is gone.
func (x Index) outdated(path string, st fs.FileInfo, now time.Time) string {
	switch {
	case x.st == nil:
		return ""
	case x.st.Size() == 0:
		return x.path + " is empty"
	case st != nil && st.ModTime().After(x.st.ModTime()) && !st.ModTime().After(now):
		return x.path + " is older than " + path
	}
	return ""
}
