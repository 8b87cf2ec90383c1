// Package boot finds the kernels of a machine, the kernel that the machine starts
// next, and the default of its boot loader.
//
// It guarantees that it starts no program and reads no file outside of the
// [system.Root], and that it reports a kernel which cannot be determined as
// unknown, with the reason, instead of guessing. It changes nothing but the default
// of a boot loader, by [Default.Set], so that at any time the old one or the new one
// is there.
package boot

import (
	"strings"

	"dkms/pkg/system"
)

// Machine is the set of kernels that a machine can start.
type Machine struct {
	// Kernels are the kernels of the machine, oldest first.
	Kernels []Kernel
	// Next is the kernel that starts next; see [Next.Known].
	Next Next
}

// Kernel is a kernel that the machine can start: its modules or its image
// exist. Headers alone are not enough.
type Kernel struct {
	Release string
	// Image is the file that is started, or "" where none was found.
	Image string
	// Modules says that the install tree has the kernel's own modules, or the
	// list of built-in modules.
	Modules bool
	// Headers says that modules can be built for the kernel.
	Headers bool
	// Running marks the kernel that runs now, and Next the one that starts
	// next. Only [Look] sets them.
	Running, Next bool
}

// Next is the kernel that a machine starts next.
type Next struct {
	// Release is the kernel, or "" where it is not known.
	Release string
	// Then is the kernel of the later starts, where Release is started only
	// once. It is empty otherwise, and where that kernel is not known.
	Then string
	// Once says that Release is started only once.
	Once bool
	// Loader is what decides: "GRUB", "systemd-boot", "extlinux",
	// "flash-kernel", "firmware", "kexec", "soft reboot", "link", or "" where
	// nothing was found.
	Loader string
	// Why is a clause for people, without full stop: the source of the answer
	// or, where Release is not known, the reason.
	Why string
}

// Known reports whether the kernel that starts next is known.
func (n Next) Known() bool { return n.Release != "" }

// unknown returns an answer that has only a reason.
func unknown(loader, why string) Next { return Next{Loader: loader, Why: why} }

// Look lists the kernels of the machine, marks the running one, and determines
// which one starts next.
func Look(h system.Host) Machine {
	m := Machine{Kernels: Kernels(h.Root)}
	m.Next = next(h, m.Kernels)
	for i := range m.Kernels {
		k := &m.Kernels[i]
		k.Running = k.Release == h.Release && !foreign(h)
		k.Next = k.Release == m.Next.Release
	}
	return m
}

// foreign reports whether the root belongs to an image, a chroot or a
// container, so that the running kernel and the firmware tell nothing about its
// files.
func foreign(h system.Host) bool {
	return h.Root.Dir != "" && h.Root.Dir != "/" || h.Image || h.InChroot()
}

// Find returns the kernel of a release.
func (m Machine) Find(release string) (Kernel, bool) {
	for _, k := range m.Kernels {
		if k.Release == release {
			return k, true
		}
	}
	return Kernel{}, false
}

// next asks the things that can decide, in the order in which the machine
// would.
func next(h system.Host, kernels []Kernel) Next {
	s := &search{root: h.Root, kernels: kernels}
	if h.Root.Dir == "" && system.IsFile("/run/systemd/container") {
		return unknown("", "this is a container, whose host chooses the kernel")
	}
	if !foreign(h) {
		s.efi = readFirmware(h.Root)
		if n, decided := s.beforeLoader(h.Release); decided {
			return n
		}
	}
	if n := s.loaders(); n.Known() || n.Loader != "" {
		return n
	}
	return s.withoutLoader(h)
}

// search holds the facts for determining the kernel that starts next.
type search struct {
	root    system.Root
	kernels []Kernel
	efi     firmware
}

// beforeLoader recognises restarts that do not reach the boot loader that has
// started the machine: the two kinds that do not reach the firmware, and those
// for which the firmware has another order.
func (s *search) beforeLoader(running string) (n Next, decided bool) {
	if n, decided := s.beforeFirmware(running); decided {
		return n, true
	}
	return s.firmware()
}

// beforeFirmware recognises the two kinds of restart that do not reach the
// firmware.
func (s *search) beforeFirmware(running string) (n Next, decided bool) {
	if data, err := system.ReadRegular(s.root.Path("/sys/kernel/kexec_loaded"), maxWord); err == nil && strings.TrimSpace(string(data)) == "1" {
		return unknown("kexec", "a kernel is loaded with kexec, which starts instead of what the boot loader has, and its release cannot be read back"), true
	}
	for _, release := range []string{"/run/nextroot/etc/os-release", "/run/nextroot/usr/lib/os-release"} {
		if system.IsFile(s.root.Path(release)) {
			return Next{Release: running, Loader: "soft reboot", Why: "a new system waits in /run/nextroot: a restart goes there and keeps the running kernel"}, true
		}
	}
	return Next{}, false
}

// loaders asks the boot loaders. If the firmware knows which one has started
// the machine, only that one is asked; otherwise all installed ones are asked,
// and their answers must agree.
func (s *search) loaders() Next {
	all := []struct {
		name string
		ask  func() (Next, bool)
	}{
		{grubName, s.grub}, {systemdBootName, s.systemdBoot}, {"extlinux", s.extlinux},
	}
	var found []Next
	for _, l := range all {
		if s.efi.loader != "" && l.name != s.efi.loader {
			continue
		}
		if n, ok := l.ask(); ok {
			n.Loader = l.name
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return Next{}
	}
	for _, n := range found[1:] {
		if n.Release != found[0].Release {
			return unknown(found[0].Loader, found[0].Loader+" and "+n.Loader+" are both set up here and do not agree, and nothing tells which of them the firmware starts")
		}
	}
	return found[0]
}

// withoutLoader answers for machines without a boot loader whose configuration
// this program can read.
func (s *search) withoutLoader(h system.Host) Next {
	if h.Root.Dir == "" && h.InChroot() {
		return unknown("", "this is a container or chroot without a boot loader of its own: its host chooses the kernel")
	}
	for _, ask := range []func() (Next, bool){s.unread, s.flashKernel, s.links} {
		if n, ok := ask(); ok {
			return n
		}
	}
	var images []Kernel
	for _, k := range s.kernels {
		if k.Image != "" {
			images = append(images, k)
		}
	}
	switch {
	case strings.Contains(h.Release, "microsoft"):
		return unknown("", "Windows chooses the kernel of this machine")
	case len(images) == 1:
		return Next{Release: images[0].Release, Why: "it is the only kernel with an image here; no boot loader was found"}
	case len(images) == 0:
		return unknown("", "no kernel image and no boot loader were found: the machine's host or its network may start it")
	}
	return unknown("", "no boot loader was found that this program knows")
}
