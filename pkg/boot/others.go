package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
	"dkms/pkg/version"
)

// releases are those of the kernels of the machine.
func (s *search) releases() []string {
	list := make([]string, len(s.kernels))
	for i, k := range s.kernels {
		list[i] = k.Release
	}
	return list
}

// extlinux answers for what has the configuration of SYSLINUX: extlinux, and
// the distro boot of U-Boot.
func (s *search) extlinux() (n Next, found bool) {
	for _, path := range []string{"/boot/extlinux/extlinux.conf", "/boot/extlinux.conf", "/extlinux/extlinux.conf"} {
		data, err := system.ReadRegular(s.root.Path(path), maxWord)
		if err != nil {
			continue
		}
		label, image := parseExtlinux(string(data))
		why := fmt.Sprintf("default of %s is %q", s.root.Path(path), label)
		if image == "" {
			return unknown("", why+", which starts no Linux kernel"), true
		}
		g := grub{search: s}
		if r := releaseOf(s.root, s.releases(), g.onDisk("/"+strings.TrimLeft(image, "./"))); r != "" {
			return Next{Release: r, Why: why}, true
		}
		return unknown("", fmt.Sprintf("%s, which starts %s, and nothing tells its release", why, image)), true
	}
	return Next{}, false
}

// parseExtlinux finds the default label, which is the first where none is
// named, and its image.
func parseExtlinux(text string) (label, image string) {
	images := map[string]string{}
	var first, current string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch key := strings.ToLower(words[0]); {
		case key == "default":
			label = words[1]
		case key == "label":
			current = words[1]
			if first == "" {
				first = current
			}
		case (key == "linux" || key == "kernel" || key == "fit") && images[current] == "":
			images[current] = words[1]
		}
	}
	if label == "" {
		label = first
	}
	return label, images[label]
}

// flashKernel answers for boards whose kernel flash-kernel has written: it
// takes the newest one, and what it writes does not tell.
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

// links answers by the links that some loaders start, such as lilo and zipl.
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

// follow is the file that a link leads to, seen from inside the root.
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
