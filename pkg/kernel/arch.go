package kernel

import (
	"debug/elf"
	"strings"
)

// Arch returns how the tree spells an architecture: as uname -m does, since
// the original asks it. Distributions and Go have other names for the same
// machine, and admins use them with --arch. Where name is the machine host,
// host's own spelling is the right one: a 32-bit PC can call itself i586.
func Arch(name, host string) string {
	usual := usualArch(name)
	if usual == usualArch(host) {
		return host
	}
	return usual
}

// SameArch reports whether two names are of one machine.
func SameArch(a, b string) bool { return usualArch(a) == usualArch(b) }

// usualArch is what uname -m commonly says; unknown names stay as they are.
func usualArch(name string) string {
	switch name {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "i386", "i486", "i586", "x86":
		return "i686"
	case "ppc64el":
		return "ppc64le"
	case "armhf":
		return "armv7l"
	case "riscv":
		return "riscv64"
	case "loong64":
		return "loongarch64"
	}
	return name
}

// MadeFor reports whether an ELF file with this machine and byte order can be
// for an architecture. Files for an architecture that this program does not
// know can be anything.
func MadeFor(arch string, machine elf.Machine, order elf.Data) bool {
	wantMachine, wantOrder := elfOf(usualArch(arch))
	return wantMachine == elf.EM_NONE ||
		machine == wantMachine && (wantOrder == elf.ELFDATANONE || order == wantOrder)
}

// elfOf is the ELF machine and byte order of an architecture, as far as its
// name tells: uname -m says mips of both orders.
func elfOf(arch string) (elf.Machine, elf.Data) {
	switch {
	case arch == "x86_64":
		return elf.EM_X86_64, elf.ELFDATA2LSB
	case arch == "i686":
		return elf.EM_386, elf.ELFDATA2LSB
	case arch == "aarch64":
		return elf.EM_AARCH64, elf.ELFDATA2LSB
	case arch == "aarch64_be":
		return elf.EM_AARCH64, elf.ELFDATA2MSB
	case strings.HasPrefix(arch, "arm"):
		return elf.EM_ARM, elf.ELFDATANONE
	case strings.HasPrefix(arch, "riscv"):
		return elf.EM_RISCV, elf.ELFDATA2LSB
	case arch == "ppc64le":
		return elf.EM_PPC64, elf.ELFDATA2LSB
	case arch == "ppc64":
		return elf.EM_PPC64, elf.ELFDATA2MSB
	case arch == "s390x":
		return elf.EM_S390, elf.ELFDATA2MSB
	case strings.HasPrefix(arch, "loongarch"):
		return elf.EM_LOONGARCH, elf.ELFDATA2LSB
	case arch == "mips" || arch == "mips64":
		return elf.EM_MIPS, elf.ELFDATANONE
	}
	return elf.EM_NONE, elf.ELFDATANONE
}
