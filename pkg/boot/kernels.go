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
// modules of their own or a list of built-in modules, with an image, or with a
// boot loader entry whose image exists. A link to headers is not enough,
// because it remains when a kernel is removed. Running and Next are not set.
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

// listing collects kernels.
type listing struct {
	root      system.Root
	byRelease map[string]*Kernel
}

// add adds a kernel if it is new, and its image if none was known.
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

// modules adds the kernels of the install tree. Images that distributions keep
// there count like images in /boot.
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

// images adds the kernels of /boot. Boot loaders start the images in /boot, so
// those come before images in the install tree.
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

// isImageName reports whether a name in /boot is that of a kernel image for
// regular use, and not of a rescue copy or an earlier build.
func isImageName(name string) bool {
	if strings.Contains(name, "-rescue") || strings.Contains(name, ".dpkg-") {
		return false
	}
	for _, suffix := range []string{".old", ".bak", ".sig", ".signed", ".hmac"} {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	return slices.ContainsFunc(imagePrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// entries adds the kernels of Boot Loader Specification entries and of unified
// kernel images.
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

// releaseOf returns the kernel of an image, or "" where nothing tells it. It
// tries, in this order: the known releases and the path, the package of the
// image on Arch, the content of the image, and its name alone.
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
	if base == "linux" { // kernel-install uses TOKEN/RELEASE/linux
		name = filepath.Base(filepath.Dir(path))
	}
	if name != "" && name[0] >= '0' && name[0] <= '9' && system.PlainName(name) {
		return name
	}
	return ""
}

// releaseInPath returns the longest known release that ends the file name or is
// a directory above the file.
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

// releaseOfPackage returns the kernel whose directory names a pacman package,
// because Arch uses the name of the package for the image.
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
