package kernel

import (
	"debug/elf"
	"strings"

	"dkms/pkg/system"
)

// Arch returns the spelling of an architecture in the tree: that of uname -m,
// which the original asks. Distributions and Go have other names for the same
// architecture, and administrators use those names with --arch. Where name
// means the architecture of host, the result is host's own spelling, because a
// 32-bit PC can call itself i586.
func Arch(name, host string) string {
	usual := usualArch(name)
	if usual == usualArch(host) {
		return host
	}
	return usual
}

// SameArch reports whether two names mean the same architecture.
func SameArch(a, b string) bool { return usualArch(a) == usualArch(b) }

// usualArch returns the usual output of uname -m for an architecture; it
// returns unknown names unchanged.
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
// for an architecture. For an architecture that this program does not know,
// every file can be.
func MadeFor(arch string, machine elf.Machine, order elf.Data) bool {
	wantMachine, wantOrder := elfOf(usualArch(arch))
	return wantMachine == elf.EM_NONE ||
		machine == wantMachine && (wantOrder == elf.ELFDATANONE || order == wantOrder)
}

// Machine returns the architecture of a system that does not run, in the
// spelling of uname -m: that of its programs, or "" where none is found.
func Machine(root system.Root) string {
	for _, program := range []string{"/usr/bin/env", "/bin/sh", "/bin/busybox", "/usr/bin/bash", "/sbin/init"} {
		f, err := elf.Open(root.Path(program))
		if err != nil {
			continue
		}
		defer f.Close()
		for _, arch := range configured {
			if MadeFor(arch.name, f.Machine, f.Data) {
				return arch.name
			}
		}
	}
	return ""
}

// configured are the architectures and the symbols that the configuration of
// their kernels has. 64-bit kernels have the symbol of their 32-bit relatives,
// too, and so come first.
var configured = []struct{ name, symbol string }{
	{"x86_64", "CONFIG_X86_64"}, {"i686", "CONFIG_X86_32"}, {"aarch64", "CONFIG_ARM64"}, {"armv7l", "CONFIG_ARM"},
	{"riscv64", "CONFIG_RISCV"}, {"ppc64le", "CONFIG_CPU_LITTLE_ENDIAN"}, {"ppc64", "CONFIG_PPC64"}, {"s390x", "CONFIG_S390"},
	{"loongarch64", "CONFIG_LOONGARCH"},
}

// Arch returns the architecture that a kernel is configured for, in the spelling
// of uname -m, or "" where its configuration does not tell.
func (c *Config) Arch() string {
	for _, arch := range configured {
		if c.Is(arch.symbol) && (arch.name != "ppc64le" || c.Is("CONFIG_PPC64")) {
			return arch.name
		}
	}
	return ""
}

// elfOf returns the ELF machine and byte order of an architecture, as far as
// the name determines them: uname -m says mips for both byte orders.
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
