package build

import (
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// A rehearsal has a tree of its own, and often headers that are not installed.
// Many packages look for the headers where the kernel's package puts them, and
// paths get into modules. The commands of a confined rehearsal therefore see the
// tree and the headers at the places where the real build will have them: its
// modules are those that the real build would make. Builds that are not confined
// cannot have that.

// seenScratch is the path at which the commands of a confined build see their
// sources.
func (b *Builder) seenScratch(id tree.ID) string {
	if b.StandsFor != nil {
		return b.StandsFor.ScratchDir(id)
	}
	return b.Tree.ScratchDir(id)
}

// seen is a text for the commands of a build, with the paths that they see.
func (w *work) seen(text string) string {
	if w.final == nil {
		return text
	}
	return w.final.Replace(text)
}

// aside is the part of a build that shows the tree and the headers of a rehearsal at
// the paths of the real ones.
type aside struct{ *work }

// place prepares what the commands of a rehearsal see at another path.
func (w aside) place() error {
	if w.StandsFor == nil || w.scratch.private == "" {
		return nil
	}
	paths := []string{w.Tree.Dir(), w.StandsFor.Dir()}
	w.placed = []system.Mount{{From: w.Tree.Dir(), At: w.StandsFor.Dir()}}
	modules := w.Kernel.ModuleDir()
	if !system.SameFile(filepath.Join(modules, "build"), w.Kernel.Headers) {
		if err := w.placeHeaders(modules); err != nil {
			return err
		}
		if w.Kernel.Around != "" { // without it, the headers stay where they are
			paths = append(paths, w.Kernel.Headers, filepath.Join(modules, "build"), w.Kernel.Around+"/", "/")
		}
	}
	w.final = strings.NewReplacer(paths...)
	return nil
}

// placeHeaders makes the kernel's directory with its two links, and puts the
// unpacked packages to their places.
func (w aside) placeHeaders(modules string) error {
	dir := filepath.Join(w.scratch.private, "modules")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	w.placed = append(w.placed, system.Mount{From: dir, At: modules})
	around := w.Kernel.Around
	if around != "" {
		for _, pattern := range []string{"usr/src/*", "usr/src/kernels/*", "usr/lib/linux-*"} {
			for _, path := range system.Glob(around, pattern) {
				if at := strings.TrimPrefix(path, around); system.IsDir(path) && at != "/usr/src/kernels" {
					w.placeDir(path, at)
				}
			}
		}
	}
	headers, err := w.placeLink(filepath.Join(dir, "build"), w.Kernel.Headers)
	if err != nil {
		return err
	}
	source, err := filepath.EvalSymlinks(w.Kernel.Source())
	switch {
	case err != nil:
		return err
	case source == headers:
		return os.Symlink("build", filepath.Join(dir, "source"))
	}
	_, err = w.placeLink(filepath.Join(dir, "source"), source)
	return err
}

// placeLink makes a link of the kernel's directory to a directory of headers, or,
// where their package has the directory itself there, that directory.
func (w aside) placeLink(link, target string) (real string, err error) {
	if real, err = filepath.EvalSymlinks(target); err != nil {
		return "", err
	}
	for _, m := range w.placed {
		if rest, ok := strings.CutPrefix(real+"/", m.From+"/"); ok {
			return real, os.Symlink(filepath.Join(m.At, rest), link)
		}
	}
	if w.Kernel.Around == "" || !strings.HasPrefix(real, w.Kernel.Around+"/") {
		return real, os.Symlink(real, link)
	}
	w.placeDir(real, filepath.Join(w.Kernel.ModuleDir(), filepath.Base(link)))
	return real, os.Mkdir(link, 0o755)
}

// placeDir puts a directory of an unpacked package to its place, with the makefile
// that the package has.
func (w aside) placeDir(dir, at string) {
	w.placed = append(w.placed, system.Mount{From: dir, At: at})
	if packed := filepath.Join(dir, PackedMakefile); system.IsFile(packed) {
		w.placed = append(w.placed, system.Mount{From: packed, At: filepath.Join(at, "Makefile")})
	}
}

// PackedMakefile is the makefile of headers that were unpacked aside as their
// package has it, where Makefile was changed to refer to the unpacked files.
const PackedMakefile = ".Makefile.packed"
