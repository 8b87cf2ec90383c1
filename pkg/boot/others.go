package boot

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
	"dkms/pkg/version"
)

// releases returns the releases of the machine's kernels.
func (s *search) releases() []string {
	list := make([]string, len(s.kernels))
	for i, k := range s.kernels {
		list[i] = k.Release
	}
	return list
}

// extlinux answers for loaders with the configuration of SYSLINUX: extlinux,
// and the distro boot of U-Boot.
func (s *search) extlinux() (n Next, found bool) {
	path, c := s.readSysLinux()
	if c == nil {
		return Next{}, false
	}
	label, image := c.chosen()
	why := fmt.Sprintf("default of %s is %q", s.root.Path(path), label)
	if image == "" {
		return unknown("", why+", which starts no Linux kernel"), true
	}
	file := s.labelled(image)
	if !system.IsFile(file) {
		return unknown("", fmt.Sprintf("%s, which starts %s, and that is not here", why, image)), true
	}
	if r := releaseOf(s.root, s.releases(), file); r != "" {
		return Next{Release: r, Why: why}, true
	}
	return unknown("", fmt.Sprintf("%s, which starts %s, and nothing tells its release", why, image)), true
}

// readSysLinux reads the configuration of SYSLINUX, where it exists.
func (s *search) readSysLinux() (path string, c *sysLinux) {
	for _, path := range []string{"/boot/extlinux/extlinux.conf", "/boot/extlinux.conf", "/extlinux/extlinux.conf"} {
		c := &sysLinux{root: s.root, dir: filepath.Dir(path), images: map[string]string{}}
		if c.read(path, 0) {
			return path, c
		}
	}
	return "", nil
}

// labelled returns where the image of a label is in the root.
func (s *search) labelled(image string) string {
	g := grub{search: s}
	return g.onDisk("/" + strings.TrimLeft(image, "./"))
}

// sysLinux is the configuration of SYSLINUX (doc/syslinux.txt, doc/menu.txt).
type sysLinux struct {
	root system.Root
	dir  string
	// first, current and marked are labels: the first one, the one that is
	// read, and that of MENU DEFAULT.
	first, current, marked string
	// byDefault and onTimeout are what DEFAULT and ONTIMEOUT start.
	byDefault, onTimeout string
	// labels are all labels in their order, and images their kernels.
	labels []string
	images map[string]string
}

// mostIncludes bounds the depth of INCLUDE.
const mostIncludes = 8

// read reads a file, and those that it includes, relative to the directory of
// the first one.
func (c *sysLinux) read(path string, depth int) bool {
	data, err := system.ReadRegular(c.root.Path(path), maxWord)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		key, value := strings.ToLower(words[0]), words[1]
		switch {
		case key != "menu":
		case strings.EqualFold(value, "default"):
			c.marked = c.current
			continue
		case strings.EqualFold(value, "include") && len(words) > 2:
			key, value = "include", words[2]
		}
		c.set(key, value, depth)
	}
	return true
}

func (c *sysLinux) set(key, value string, depth int) {
	switch key {
	case "default":
		c.byDefault = value
	case "ontimeout":
		c.onTimeout = value
	case "label":
		c.current = value
		c.labels = append(c.labels, value)
		c.first = cmp.Or(c.first, value)
	case "linux", "kernel", "fit":
		if c.current != "" && c.images[c.current] == "" {
			c.images[c.current] = value
		}
	case "include":
		if !filepath.IsAbs(value) {
			value = filepath.Join(c.dir, value)
		}
		if depth < mostIncludes {
			c.read(value, depth+1)
		}
	}
}

// chosen returns what is started when nobody does anything, and its image: what
// the timeout starts, the marked label of a menu, the default, or the first
// label.
func (c *sysLinux) chosen() (label, image string) {
	menu := strings.HasSuffix(c.byDefault, ".c32") // DEFAULT starts the menu
	for _, label := range []string{c.onTimeout, c.marked, c.byDefault, c.first} {
		if label == "" || menu && label == c.byDefault {
			continue
		}
		if image := c.images[label]; image != "" {
			return label, image
		}
		if isImageName(filepath.Base(label)) { // a kernel in the place of a label
			return label, label
		}
		return label, ""
	}
	return "", ""
}

// unread answers for boot loaders whose choice this program cannot read.
func (s *search) unread() (n Next, found bool) {
	if s.efi.loader != "" {
		return unknown(s.efi.loader, s.efi.loader+" has started this machine, and this program does not read what it starts next"), true
	}
	for _, l := range []struct{ name, file string }{
		{"the firmware of the Raspberry Pi", "/boot/firmware/config.txt"}, {"the firmware of the Raspberry Pi", "/boot/config.txt"},
		{"rEFInd", "/boot/efi/EFI/refind/refind.conf"}, {"rEFInd", "/efi/EFI/refind/refind.conf"}, {"rEFInd", "/boot/EFI/refind/refind.conf"},
		{"Limine", "/boot/limine.conf"}, {"Limine", "/boot/limine/limine.conf"}, {"Limine", "/boot/EFI/limine/limine.conf"},
	} {
		if system.IsFile(s.root.Path(l.file)) {
			return unknown("", l.name+" chooses the kernel, and this program does not read what it starts next ("+s.root.Path(l.file)+")"), true
		}
	}
	return Next{}, false
}

// flashKernel answers for boards on which flash-kernel has written the kernel.
// It takes the newest kernel, and the written image does not tell which one
// that was.
func (s *search) flashKernel() (n Next, found bool) {
	if !system.IsFile(s.root.Path("/etc/default/flash-kernel")) || !system.IsDir(s.root.Path("/usr/share/flash-kernel")) {
		return Next{}, false
	}
	var list []string
	for _, k := range s.kernels {
		if k.Image != "" {
			list = append(list, k.Release)
		}
	}
	if len(list) == 0 {
		return Next{}, false
	}
	newest := slices.MaxFunc(list, version.Natural)
	return Next{Release: newest, Loader: "flash-kernel", Why: "flash-kernel takes the newest kernel"}, true
}

// links answers from the links that some loaders start, such as lilo and zipl.
func (s *search) links() (n Next, found bool) {
	for _, link := range []string{"/vmlinuz", "/boot/vmlinuz", "/vmlinux", "/boot/vmlinux"} {
		target, ok := s.follow(link)
		if !ok {
			continue
		}
		if r := releaseOf(s.root, s.releases(), target); r != "" {
			return Next{Release: r, Loader: "link", Why: s.root.Path(link) + " leads to it; no boot loader was found that says otherwise"}, true
		}
	}
	return Next{}, false
}

// follow returns the file that a link leads to, as seen from inside the root.
func (s *search) follow(link string) (file string, ok bool) {
	for range 8 {
		target, err := os.Readlink(s.root.Path(link))
		if err != nil {
			return s.root.Path(link), system.IsFile(s.root.Path(link))
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		link = filepath.Clean("/" + target)
	}
	return "", false
}
