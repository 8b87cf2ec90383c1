package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Unchanged tells whether an installed file is still the file that was
// installed.
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

// Look is the state of the installed files of a build.
type Look struct {
	// Damaged is the first installed file that has to be installed again, and
	// Why says what is wrong with it. A file that somebody else has signed
	// since, or that is a later version of the module, is a decision and not
	// damage.
	Damaged, Why string
	// Files are the installed files with their times.
	Files []Dated
}

// Dated is a file and the time of its last change.
type Dated struct {
	Path string
	Time time.Time
}

// LookAt checks the installed files of a manifest.
func LookAt(t *tree.Tree, m *tree.Manifest) Look {
	l := Look{Files: make([]Dated, 0, len(m.Installed))}
	for _, f := range m.Installed {
		st, why := look(t, m, f)
		if why != "" && l.Damaged == "" {
			l.Damaged, l.Why = f.Path, why
		}
		if st != nil {
			l.Files = append(l.Files, Dated{f.Path, st.ModTime()})
		}
	}
	return l
}

// look checks one installed file of a manifest, and returns what is wrong with
// it.
func look(t *tree.Tree, m *tree.Manifest, f tree.Installed) (fs.FileInfo, string) {
	st, err := os.Lstat(f.Path)
	if err != nil || st.Size() == 0 && f.Size != 0 {
		return nil, "is missing or empty"
	}
	if !unchanged(f, st) {
		if why := damaged(t, m, f); why != "" {
			return st, why
		}
	}
	name := filepath.Base(f.Path)
	for _, built := range m.Files {
		if built.Name == name && built.SHA256 != f.SHA256 {
			return st, "is made of an earlier build" // an interrupted run had signed or built the module again
		}
	}
	return st, ""
}

// ForAnotherKernel is the fault of a file that is made for another kernel.
const ForAnotherKernel = "was made for another kernel"

// damaged returns what is wrong with a file that differs from what was
// installed.
func damaged(t *tree.Tree, m *tree.Manifest, f tree.Installed) string {
	have, err := module.Read(f.Path)
	if err != nil {
		return "is damaged"
	}
	if have.Release() != m.Kernel || !kernel.MadeFor(m.Arch, have.Machine, have.Data) {
		return ForAnotherKernel
	}
	id, k := tree.ID{Name: m.Module, Version: m.Version}, tree.Target{Kernel: m.Kernel, Arch: m.Arch}
	mine := filepath.Join(t.Modules(id, k), filepath.Base(f.Path))
	if same, err := module.Same(f.Path, mine); err == nil && same {
		return ""
	}
	if own, err := module.Read(mine); err == nil && version.Compare(have.Version, own.Version) > 0 {
		return ""
	}
	return "is not what was installed"
}

// Changed is what is wrong with a module of a build that is not the one that was
// built.
const Changed = "is not what was built"

// Lost is the fault of a missing module.
const Lost = "is missing"

// Altered is the first file of a build in the dkms tree that differs from the
// manifest, and the fault of the file; both are empty if all files match.
func Altered(t *tree.Tree, m *tree.Manifest) (file, why string) {
	dir := t.Modules(tree.ID{Name: m.Module, Version: m.Version}, tree.Target{Kernel: m.Kernel, Arch: m.Arch})
	for _, f := range m.Files {
		path := filepath.Join(dir, filepath.Base(f.Name))
		switch sum, err := digestBuilt(path); {
		case errors.Is(err, fs.ErrNotExist):
			return path, Lost
		case err != nil:
			return path, "cannot be read"
		case sum != f.SHA256:
			return path, Changed
		}
	}
	return "", ""
}

// Index is the state of a kernel's module index, modules.dep, at one moment.
type Index struct {
	path string
	st   fs.FileInfo // nil if there is no index
}

// LookAtIndex reads the state of an index, which may be missing.
func LookAtIndex(dep string) Index {
	st, err := os.Stat(dep)
	if err != nil {
		st = nil
	}
	return Index{dep, st}
}

// Outdated returns what is wrong with an index that is empty, or older than the
// installed files. A kernel without an index is not completely installed, so
// Outdated returns nothing for it, and it ignores files whose time is in the
// future.
func (x Index) Outdated(installed []Dated, now time.Time) string {
	if x.st == nil || len(installed) == 0 {
		return ""
	}
	if x.st.Size() == 0 {
		return x.path + " is empty"
	}
	for _, f := range installed {
		if f.Time.After(x.st.ModTime()) && !f.Time.After(now) {
			return x.path + " is older than " + f.Path
		}
	}
	return ""
}
