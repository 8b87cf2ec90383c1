package build

import (
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/kernel"
	"dkms/pkg/system"
)

// A rehearsal may build against headers that are not installed, and the makefiles
// of many packages look for the headers where the kernel's package puts them.
// placeHeaders makes the headers appear there, for this build only. A build that
// is not confined cannot have that.
func (w *work) placeHeaders() error {
	modules := w.Kernel.ModuleDir()
	if !w.Rehearsal || w.scratch.private == "" || system.SameFile(filepath.Join(modules, "build"), w.Kernel.Headers) {
		return nil
	}
	real, err := filepath.EvalSymlinks(w.Kernel.Headers)
	if err != nil {
		return err
	}
	dir := filepath.Join(w.scratch.private, "modules")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for name, target := range map[string]string{"build": real, "source": sourceTree(w.Kernel, real)} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	w.placed = []system.Mount{{From: dir, At: modules}}
	if place, ok := strings.CutPrefix(real, w.Kernel.Around+"/"); ok && w.Kernel.Around != "" && !strings.HasPrefix("/"+place, modules+"/") {
		w.placed = append(w.placed, system.Mount{From: real, At: "/" + place})
	}
	return nil
}

// sourceTree is where the link named source beside the link to the headers leads.
func sourceTree(k *kernel.Kernel, headers string) string {
	for _, dir := range []string{"/usr/lib/modules", "/lib/modules"} {
		link := filepath.Join(dir, k.Release, "source")
		if real, err := filepath.EvalSymlinks(k.Around + link); err == nil && k.Around != "" {
			return real
		}
		target, err := os.Readlink(k.Around + link) // to a package that is installed
		if err == nil && !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		if err == nil && system.IsDir(target) {
			return target
		}
	}
	return headers
}
