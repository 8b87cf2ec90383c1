package kernel

import (
	"debug/elf"
	"testing"
)

func TestArch(t *testing.T) {
	for _, test := range []struct{ name, host, want string }{
		{"amd64", "x86_64", "x86_64"}, {"x86_64", "x86_64", "x86_64"}, {"x86_64", "aarch64", "x86_64"},
		{"arm64", "x86_64", "aarch64"}, {"aarch64", "aarch64", "aarch64"},
		{"i386", "i686", "i686"}, {"i686", "i586", "i586"}, {"i386", "x86_64", "i686"},
		{"ppc64el", "x86_64", "ppc64le"}, {"ppc64le", "ppc64", "ppc64le"}, {"ppc64", "ppc64le", "ppc64"},
		{"armhf", "armv7l", "armv7l"}, {"loong64", "loongarch64", "loongarch64"}, {"ia32e", "x86_64", "ia32e"},
	} {
		if got := Arch(test.name, test.host); got != test.want {
			t.Errorf("Arch(%q, %q) = %q; want %q", test.name, test.host, got, test.want)
		}
	}
	if !SameArch("amd64", "x86_64") || !SameArch("i386", "i586") || SameArch("i686", "x86_64") || SameArch("ppc64", "ppc64le") {
		t.Error("SameArch takes other machines for one")
	}
}

func TestMadeFor(t *testing.T) {
	const little, big = elf.ELFDATA2LSB, elf.ELFDATA2MSB
	for arch, want := range map[string]struct {
		machine elf.Machine
		order   elf.Data
	}{
		"x86_64": {elf.EM_X86_64, little}, "amd64": {elf.EM_X86_64, little}, "i386": {elf.EM_386, little}, "i586": {elf.EM_386, little},
		"i686": {elf.EM_386, little}, "x86": {elf.EM_386, little}, "aarch64": {elf.EM_AARCH64, little}, "arm64": {elf.EM_AARCH64, little},
		"armv7l": {elf.EM_ARM, little}, "armhf": {elf.EM_ARM, little}, "arm": {elf.EM_ARM, big}, "riscv64": {elf.EM_RISCV, little},
		"riscv": {elf.EM_RISCV, little}, "ppc64le": {elf.EM_PPC64, little}, "ppc64el": {elf.EM_PPC64, little}, "ppc64": {elf.EM_PPC64, big},
		"s390x": {elf.EM_S390, big}, "loongarch64": {elf.EM_LOONGARCH, little}, "mips": {elf.EM_MIPS, big}, "mips64": {elf.EM_MIPS, little},
	} {
		if !MadeFor(arch, want.machine, want.order) {
			t.Errorf("MadeFor(%q, %v, %v) = false", arch, want.machine, want.order)
		}
		if MadeFor(arch, elf.EM_SPARCV9, big) {
			t.Errorf("a file for SPARC is made for %s", arch)
		}
	}
	for _, arch := range []string{"ia32e", "", "i86", "all"} {
		if !MadeFor(arch, elf.EM_X86_64, little) {
			t.Errorf("MadeFor(%q) = false; nothing is known of it", arch)
		}
	}
	if MadeFor("ppc64", elf.EM_PPC64, little) || MadeFor("ppc64le", elf.EM_PPC64, big) || MadeFor("s390x", elf.EM_S390, little) {
		t.Error("MadeFor takes either byte order")
	}
}
