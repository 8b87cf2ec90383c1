package install

import (
	"bytes"
	"context"
	"os"
	"path/filepath"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Uninstall takes the modules of an installed version out of the kernel's
// directory, puts back the originals that they replaced, and makes no version
// active. Neither the sources nor their dkms.conf are needed: the manifest
// lists the installed files and, for builds of the original, Uninstall searches
// for copies of the built files.
func (in *Installer) Uninstall(id tree.ID, k *kernel.Kernel) error {
	target := tree.Target{Kernel: k.Release, Arch: k.Arch}
	if err := in.finishInterrupted(); err != nil {
		return err
	}
	m, err := in.Tree.Manifest(id, target)
	if err != nil {
		in.Report.Warnf("%v; the installed files are looked for instead", err)
	}
	t := newTransaction(in.Tree, id, target, "")
	for _, path := range in.installed(id, k, m) {
		t.remove(path)
	}
	in.restore(t, k.ModuleDir(), func(name string) string { return legacyHome(m, k, name) })
	if err := t.commit(context.Background(), func() error { return in.Tree.Deactivate(id.Name, target) }); err != nil {
		return exit.Errorf(exit.InstallFailed, "%s: not uninstalled: %w", id, err)
	}
	if err := in.record(t); err != nil {
		return err
	}
	return t.finish()
}

// legacyHome is the path of a module in archives from before ".origin" files:
// the destination that dkms.conf names.
func legacyHome(m *tree.Manifest, k *kernel.Kernel, name string) string {
	if m == nil {
		return ""
	}
	for _, f := range m.Files {
		if n, _, ok := module.ParseSuffix(f.Name); ok && n == name {
			return filepath.Join(k.ModuleDir(), filepath.Clean("/"+f.Location), f.Name)
		}
	}
	return ""
}

// installed lists the files of a version in the kernel's directory.
func (in *Installer) installed(id tree.ID, k *kernel.Kernel, m *tree.Manifest) []string {
	if m != nil && len(m.Installed) > 0 {
		return in.recorded(id, k, m)
	}
	return in.lookedFor(id, k)
}

// recorded lists the installed files of the manifest that are still the same
// module. A file that somebody else has put there is left alone.
func (in *Installer) recorded(id tree.ID, k *kernel.Kernel, m *tree.Manifest) []string {
	var list []string
	for i, f := range m.Installed {
		if !inside(k.ModuleDir(), f.Path) {
			in.Report.Warnf("%s: %s is not below %s; it stays", id, f.Path, k.ModuleDir())
			continue
		}
		if _, err := os.Lstat(f.Path); err != nil {
			in.Report.Warnf("%s: %s was already gone", id, f.Path)
			continue
		}
		if !Unchanged(f) && !in.sameVersion(id, m, i) {
			in.Report.Warnf("%s: %s is no longer the file that was installed; it stays", id, f.Path)
			continue
		}
		list = append(list, f.Path)
	}
	return list
}

// sameVersion is the original's test for a file that differs from the built
// file: it has the version of the built module, or is a truncated copy of it.
func (in *Installer) sameVersion(id tree.ID, m *tree.Manifest, i int) bool {
	path := m.Installed[i].Path
	modules := in.Tree.Modules(id, tree.Target{Kernel: m.Kernel, Arch: m.Arch})
	have, err := module.Read(path)
	if err != nil {
		return truncated(path, filepath.Join(modules, filepath.Base(path)))
	}
	built := FindModule(modules, have.Name)
	if built == "" {
		return false
	}
	mine, err := module.Read(built)
	return err == nil && mine.Version == have.Version
}

// maxTruncated bounds the size of files that are compared, in bytes.
const maxTruncated = 512 << 20

// truncated tells whether a file is the start of the built file, as a crash may
// leave it.
func truncated(path, built string) bool {
	have, err := system.ReadRegular(path, maxTruncated)
	if err != nil {
		return false
	}
	whole, err := system.ReadRegular(built, maxTruncated)
	return len(have) == 0 || err == nil && bytes.HasPrefix(whole, have)
}

// lookedFor finds the installed files of a build without a record: files of the
// same name anywhere below the kernel's directory that have the same module,
// are links to it, or have its version in a directory that DKMS installs into.
func (in *Installer) lookedFor(id tree.ID, k *kernel.Kernel) []string {
	dir := in.Tree.Modules(id, tree.Target{Kernel: k.Release, Arch: k.Arch})
	built, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	present := scan(k.ModuleDir())
	var list []string
	for _, b := range built {
		name, _, ok := module.ParseSuffix(b.Name())
		if !ok {
			continue
		}
		file := filepath.Join(dir, b.Name())
		found := ownCopies(file, present[name])
		found = append(found, links(k.ModuleDir(), b.Name(), file)...)
		if len(found) == 0 {
			in.Report.Warnf("%s: %s is not found below %s", id, b.Name(), k.ModuleDir())
		}
		list = append(list, found...)
	}
	return list
}

// ownCopies are the candidates that contain the module of the built file or, if
// none does, the candidates with its version outside of the kernel's own
// directory.
func ownCopies(built string, candidates []string) []string {
	var same, versioned []string
	mine, err := module.Read(built)
	for _, c := range candidates {
		if ok, err := module.Same(c, built); err == nil && ok {
			same = append(same, c)
			continue
		}
		have, readErr := module.Read(c)
		if err == nil && readErr == nil && have.Version == mine.Version {
			versioned = append(versioned, c)
		}
	}
	if len(same) > 0 {
		return same
	}
	return versioned
}

// links lists installed symbolic links to a built file (symlink_modules).
func links(moduleDir, name, built string) []string {
	var list []string
	for _, sub := range usual {
		path := filepath.Join(moduleDir, sub, name)
		if target, err := os.Readlink(path); err == nil && target == built {
			list = append(list, path)
		}
	}
	return list
}
