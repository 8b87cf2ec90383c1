// Package boot is the kernels of a machine, and which of them it starts next.
//
// It guarantees that no program is started and that no file outside of the
// [system.Root] is read, and that a kernel which nobody can know is said to be
// unknown, with the reason, instead of guessed.
package boot

import (
	"strings"

	"dkms/pkg/system"
)

// Machine is what a machine can start.
type Machine struct {
	// Kernels are the kernels of the machine, oldest first.
	Kernels []Kernel
	// Next is the kernel that starts next; see [Next.Known].
	Next Next
}

// Kernel is a kernel that the machine can start: its modules or its image are
// there. Headers alone make none.
type Kernel struct {
	Release string
	// Image is the file that is started; it is empty where none was found.
	Image string
	// Modules says that the kernel's own modules or the list of what is built
	// into it are in the install tree.
	Modules bool
	// Headers says that modules can be built for it.
	Headers bool
	// Running marks the kernel that runs now, and Next the one that starts
	// next. Both are set by [Look] only.
	Running, Next bool
}

// Next is the kernel that a machine starts next.
type Next struct {
	// Release is the kernel; it is empty where it is not known.
	Release string
	// Then is the kernel of the starts after that, where Release is started
	// once only. It is empty otherwise, and where it is not known.
	Then string
	// Once says that Release is started once only.
	Once bool
	// Loader decides: "GRUB", "systemd-boot", "extlinux", "flash-kernel",
	// "firmware", "kexec", "soft reboot", "link", or "" where none was found.
	Loader string
	// Why is a clause for people, without full stop: where the answer is
	// from, or, where the release is not known, why it is not.
	Why string
}

// Known reports whether the kernel that starts next is known.
func (n Next) Known() bool { return n.Release != "" }

// unknown is an answer that only has a reason.
func unknown(loader, why string) Next { return Next{Loader: loader, Why: why} }

// Look lists the kernels of the machine, marks the running one and finds out
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

// foreign says that the running kernel and the firmware have nothing to do with
// the files below the root: they are those of an image, a chroot or a
// container.
func foreign(h system.Host) bool { return h.Root.Dir != "" && h.Root.Dir != "/" || h.InChroot() }

// Find returns the kernel of a release.
func (m Machine) Find(release string) (Kernel, bool) {
	for _, k := range m.Kernels {
		if k.Release == release {
			return k, true
		}
	}
	return Kernel{}, false
}

// next asks, in the order in which the machine does, who decides.
func next(h system.Host, kernels []Kernel) Next {
	s := &search{root: h.Root, kernels: kernels}
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

// search is what is asked on the way to the kernel that starts next.
type search struct {
	root    system.Root
	kernels []Kernel
	efi     firmware
}

// beforeLoader knows the restarts that the boot loader of this time has no say
// in: two kinds that never reach the firmware, and a firmware that is told
// otherwise.
func (s *search) beforeLoader(running string) (n Next, decided bool) {
	if n, decided := s.beforeFirmware(running); decided {
		return n, true
	}
	return s.firmware()
}

// beforeFirmware knows the two kinds of restart that never reach the firmware.
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

// loaders asks the boot loaders. The one that has started the machine answers
// alone, where the firmware knows it; otherwise all that are there, and they
// must agree.
func (s *search) loaders() Next {
	all := []struct {
		name string
		ask  func() (Next, bool)
	}{
		{"GRUB", s.grub}, {"systemd-boot", s.systemdBoot}, {"extlinux", s.extlinux},
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

// withoutLoader answers where no boot loader that this program knows is set up.
func (s *search) withoutLoader(h system.Host) Next {
	if n, ok := s.flashKernel(); ok {
		return n
	}
	if n, ok := s.links(); ok {
		return n
	}
	var images []Kernel
	for _, k := range s.kernels {
		if k.Image != "" {
			images = append(images, k)
		}
	}
	switch {
	case h.InChroot():
		return unknown("", "this is a container or chroot without a boot loader of its own; its host chooses the kernel")
	case strings.Contains(h.Release, "microsoft"):
		return unknown("", "Windows chooses the kernel of this machine")
	case len(images) == 1:
		return Next{Release: images[0].Release, Why: "it is the only kernel with an image here; no boot loader was found"}
	case len(images) == 0:
		return unknown("", "no kernel image and no boot loader were found; the machine's host or its network may start it")
	}
	return unknown("", "no boot loader was found that this program knows")
}
