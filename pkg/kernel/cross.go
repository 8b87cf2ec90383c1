package kernel

import (
	"debug/elf"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// foreign is an architecture as others call it.
type foreign struct {
	// kbuild is the value of ARCH (Documentation/kbuild/kbuild.rst).
	kbuild string
	// debian is the architecture of Debian's packages.
	debian string
	// prefixes are what the names of cross compilers begin with: that of Debian,
	// that of Gentoo's crossdev, and others.
	prefixes []string
}

var foreigners = map[string]foreign{
	"x86_64":      {"x86_64", "amd64", []string{"x86_64-linux-gnu-", "x86_64-unknown-linux-gnu-", "x86_64-pc-linux-gnu-"}},
	"i686":        {"i386", "i386", []string{"i686-linux-gnu-", "i686-unknown-linux-gnu-", "i686-pc-linux-gnu-"}},
	"aarch64":     {"arm64", "arm64", []string{"aarch64-linux-gnu-", "aarch64-unknown-linux-gnu-", "aarch64-suse-linux-"}},
	"armv7l":      {"arm", "armhf", []string{"arm-linux-gnueabihf-", "armv7a-unknown-linux-gnueabihf-", "arm-linux-gnu-", "arm-none-linux-gnueabihf-"}},
	"riscv64":     {"riscv", "riscv64", []string{"riscv64-linux-gnu-", "riscv64-unknown-linux-gnu-", "riscv64-suse-linux-"}},
	"ppc64le":     {"powerpc", "ppc64el", []string{"powerpc64le-linux-gnu-", "powerpc64le-unknown-linux-gnu-", "ppc64le-linux-gnu-"}},
	"ppc64":       {"powerpc", "ppc64", []string{"powerpc64-linux-gnu-", "powerpc64-unknown-linux-gnu-"}},
	"s390x":       {"s390", "s390x", []string{"s390x-linux-gnu-", "s390x-ibm-linux-gnu-", "s390x-unknown-linux-gnu-"}},
	"loongarch64": {"loongarch", "loong64", []string{"loongarch64-linux-gnu-", "loongarch64-unknown-linux-gnu-"}},
}

// OfDebian is the machine, as uname -m has it, of an architecture of Debian, or ""
// for "all" and what is not known.
func OfDebian(arch string) string {
	for machine, f := range foreigners {
		if f.debian == arch {
			return machine
		}
	}
	return ""
}

// isForeign reports whether programs of one architecture compile for another
// only with a cross compiler. Compilers of PCs compile for 32 and 64 bits.
func isForeign(arch, machine string) bool {
	of, on := usualArch(arch), usualArch(machine)
	_, known := foreigners[of]
	wordsize := of == "x86_64" && on == "i686" || of == "i686" && on == "x86_64"
	return known && on != "" && of != on && !wordsize && !sameMachine(of, on)
}

// sameMachine reports whether two architectures, such as armv6l and armv7l, have
// the same programs.
func sameMachine(a, b string) bool {
	machine, order := elfOf(a)
	return machine != elf.EM_NONE && MadeFor(b, machine, order)
}

// cross chooses the cross compiler, if the kernel needs one: the release of the
// compiler that the kernel was built with, or else the default of the first
// prefix that is installed.
func (t *Toolchain) cross(arch string, run *system.Runner) {
	of := foreigners[usualArch(arch)]
	t.Arch = of.kbuild
	if t.Clang {
		return
	}
	wanted := "gcc"
	for _, p := range append(of.prefixes, "") {
		if name, ok := strings.CutPrefix(t.Wanted, p); ok && strings.HasPrefix(name, "gcc") {
			wanted = name
			break
		}
	}
	t.CC, t.LD = "", ""
	for _, name := range []string{wanted, "gcc"} {
		for _, p := range of.prefixes {
			if run.Has(p + name) {
				t.Prefix, t.CC = p, p+name
				return
			}
		}
	}
}

// Strip returns the program that strips modules.
func (t Toolchain) Strip() string {
	if t.CC == "clang" || t.Arch != "" && t.Clang {
		return "llvm-strip"
	}
	return t.Prefix + "strip"
}

// CheckCross returns an error if the cross compiler for an architecture is not
// installed, with the package that brings it on the distribution of the programs.
func (t Toolchain) CheckCross(arch string) error {
	if t.Arch == "" || t.Clang || t.CC != "" {
		return nil
	}
	of := foreigners[usualArch(arch)]
	return exit.Errorf(exit.MakeFailed, "no compiler for %s is installed: there is no %sgcc", arch, strings.Join(of.prefixes, "gcc, no ")).
		WithHint("apt-get install crossbuild-essential-%s; Fedora: dnf install gcc-%s; Gentoo: crossdev -t %s",
			of.debian, strings.TrimSuffix(strings.TrimSuffix(of.prefixes[0], "-"), "eabihf"), strings.TrimSuffix(of.prefixes[1], "-"))
}

// CheckArch returns an error if the headers of the kernel are for another
// architecture than the kernel was said to have.
func (k *Kernel) CheckArch() error {
	arch := k.Config().Arch()
	if arch == "" || sameMachine(arch, usualArch(k.Arch)) || foreigners[usualArch(k.Arch)].kbuild == "" {
		return nil
	}
	return exit.Errorf(exit.NoHeaders, "the headers of kernel %s are for %s, not for %s", k.Release, arch, k.Arch).
		WithHint("-k %s/%s builds for it", k.Release, arch)
}

// hostPrograms are programs of Kbuild that every build runs.
var hostPrograms = []string{"scripts/basic/fixdep", "scripts/mod/modpost"}

// HostPrograms returns the machine of the programs of Kbuild that came with the
// headers, and the first of them; it returns EM_NONE where there is none.
func (k *Kernel) HostPrograms() (program string, machine elf.Machine) {
	for _, name := range hostPrograms {
		path := filepath.Join(k.Headers, name)
		if f, err := elf.Open(path); err == nil {
			defer f.Close()
			return path, f.Machine
		}
	}
	return "", elf.EM_NONE
}
