package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
	"dkms/pkg/version"
)

// maxWord bounds files of a few words, in bytes.
const maxWord = 64 << 10

// Kernels lists the kernels that a machine can start, oldest first: those with
// modules of their own or the list of built-in ones, with an image, or with an
// entry for a boot loader whose image is there. A link to headers makes none:
// it stays behind when a kernel is removed. Running and Next are not set.
func Kernels(root system.Root) []Kernel {
	list := &listing{root: root, byRelease: map[string]*Kernel{}}
	list.modules()
	list.images()
	list.entries()
	kernels := make([]Kernel, 0, len(list.byRelease))
	for _, k := range list.byRelease {
		kernels = append(kernels, *k)
	}
	slices.SortFunc(kernels, func(a, b Kernel) int { return version.Natural(a.Release, b.Release) })
	return kernels
}

// listing is kernels that are being listed.
type listing struct {
	root      system.Root
	byRelease map[string]*Kernel
}

// add notes a kernel and, where it is the first one known, its image.
func (l *listing) add(release, image string) *Kernel {
	k := l.byRelease[release]
	if k == nil {
		k = &Kernel{Release: release, Headers: system.IsDir(filepath.Join(l.root.InstallTree(), release, "build/include"))}
		l.byRelease[release] = k
	}
	if k.Image == "" {
		k.Image = image
	}
	return k
}

// modules adds what the install tree has. Images that distributions keep
// there count like those in /boot.
func (l *listing) modules() {
	dirs, _ := os.ReadDir(l.root.InstallTree())
	for _, d := range dirs {
		if !system.PlainName(d.Name()) {
			continue
		}
		dir := filepath.Join(l.root.InstallTree(), d.Name())
		own := system.IsDir(filepath.Join(dir, "kernel")) || system.IsFile(filepath.Join(dir, "modules.builtin"))
		image := firstFile(filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "vmlinux"))
		if own || image != "" {
			l.add(d.Name(), image).Modules = own
		}
	}
}

// imagePrefixes begin the names of images; a release follows.
var imagePrefixes = []string{"vmlinuz-", "vmlinux-", "kernel-", "Image-", "bzImage-", "zImage-"}

// images adds what /boot has. An image there is what boot loaders start: it
// comes before one in the install tree.
func (l *listing) images() {
	files, _ := os.ReadDir(l.root.Path("/boot"))
	for _, f := range files {
		path := l.root.Path("/boot/" + f.Name())
		if !isImageName(f.Name()) || !system.IsFile(path) {
			continue
		}
		if release := releaseOf(l.root, l.releases(), path); release != "" {
			k := l.add(release, path)
			if filepath.Dir(k.Image) != filepath.Dir(path) {
				k.Image = path
			}
		}
	}
}

// isImageName tells images of kernels that are meant to be used from everything
// else in /boot: copies for emergencies and earlier builds are none.
func isImageName(name string) bool {
	if strings.Contains(name, "-rescue") || strings.HasSuffix(name, ".old") {
		return false
	}
	return slices.ContainsFunc(imagePrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// entries adds the kernels that the Boot Loader Specification's entries name,
// and unified kernel images.
func (l *listing) entries() {
	for _, e := range readEntries(l.root, loaderDirs(l.root)) {
		if e.image == "" || strings.Contains(e.id, "-rescue") {
			continue
		}
		if release := e.release(l.root, l.releases()); release != "" {
			l.add(release, e.image)
		}
	}
}

func (l *listing) releases() []string {
	list := make([]string, 0, len(l.byRelease))
	for r := range l.byRelease {
		list = append(list, r)
	}
	return list
}

func firstFile(paths ...string) string {
	for _, p := range paths {
		if system.IsFile(p) {
			return p
		}
	}
	return ""
}

// releaseOf finds out which kernel an image is of: by the releases known and
// its path, by the package that it belongs to on Arch, by what it says itself,
// and at last by its name alone. It is empty where nothing tells.
func releaseOf(root system.Root, known []string, path string) string {
	if r := releaseInPath(known, path); r != "" {
		return r
	}
	base := strings.TrimSuffix(filepath.Base(path), ".efi")
	_, name, _ := strings.Cut(base, "-")
	if r := releaseOfPackage(root, known, name); r != "" {
		return r
	}
	if r := imageRelease(path); r != "" {
		return r
	}
	if base == "linux" { // kernel-install has TOKEN/RELEASE/linux
		name = filepath.Base(filepath.Dir(path))
	}
	if name != "" && name[0] >= '0' && name[0] <= '9' && system.PlainName(name) {
		return name
	}
	return ""
}

// releaseInPath is the longest known release that ends the file's name or is a
// directory above it.
func releaseInPath(known []string, path string) string {
	parts := strings.Split(path, "/")
	base := strings.TrimSuffix(strings.TrimSuffix(parts[len(parts)-1], ".efi"), ".old")
	found := ""
	for _, r := range known {
		if len(r) > len(found) && (base == r || strings.HasSuffix(base, "-"+r) || slices.Contains(parts, r)) {
			found = r
		}
	}
	return found
}

// releaseOfPackage finds the kernel whose directory names a pacman package:
// Arch calls the image by that name.
func releaseOfPackage(root system.Root, known []string, name string) string {
	if name == "" {
		return ""
	}
	for _, r := range known {
		data, err := system.ReadRegular(filepath.Join(root.InstallTree(), r, "pkgbase"), maxWord)
		if err == nil && strings.TrimSpace(string(data)) == name {
			return r
		}
	}
	return ""
}
