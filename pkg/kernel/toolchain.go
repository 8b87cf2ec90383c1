package kernel

import (
	"bufio"
	"debug/elf"
	"io"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Toolchain is the compiler and linker that a kernel was built with, as far as
// this machine has them. An empty field means the default of make and Kbuild.
type Toolchain struct {
	CC, LD string
	// Clang says that the kernel was built with clang, so Kbuild needs LLVM=1.
	Clang bool
	// Wanted is the compiler that the configuration names, whether or not
	// it is installed.
	Wanted string
	// Arch is ARCH as Kbuild wants it, and Prefix is what the names of the cross
	// compiler and its programs begin with, if the kernel is for another
	// architecture than the programs.
	Arch, Prefix string
}

// Toolchain finds the tools for modules of the kernel, by the rules of DKMS:
// the CC of the headers' .kernelvariables; the first word of
// CONFIG_CC_VERSION_TEXT when such a program is installed; clang and ld.lld
// where the configuration says so. A kernel for another architecture than the
// programs needs a cross compiler.
func (k *Kernel) Toolchain(run *system.Runner) Toolchain {
	config := k.Config()
	t := Toolchain{Clang: k.builtByClang()}
	t.CC = makeVariable(filepath.Join(k.Headers, ".kernelvariables"), "CC")
	first, _, _ := strings.Cut(config.Text("CONFIG_CC_VERSION_TEXT"), " ")
	t.Wanted = strings.Trim(first, `"`)
	if t.Wanted != "" && run.Has(t.Wanted) {
		t.CC = t.Wanted
	}
	if config.Is("CONFIG_CC_IS_CLANG") && run.Has("clang") {
		t.CC = "clang"
	}
	if config.Is("CONFIG_LD_IS_LLD") && run.Has("ld.lld") {
		t.LD = "ld.lld"
	}
	if t.CC != "" && !run.Has(strings.Fields(t.CC)[0]) {
		t.CC = ""
	}
	if isForeign(k.Arch, run.Machine) {
		t.cross(k.Arch, run)
	}
	return t
}

// Missing returns the compiler that the kernel was built with if it is not
// installed, or "".
func (t Toolchain) Missing() string {
	if t.Wanted != "" && t.CC == "" {
		return t.Wanted
	}
	return ""
}

// builtByClang reports whether clang built the kernel. As in the original,
// vmlinux decides; where there is no vmlinux or it does not tell, the
// configuration decides.
func (k *Kernel) builtByClang() bool {
	if f, err := elf.Open(filepath.Join(k.Headers, "vmlinux")); err == nil {
		defer f.Close()
		if s := f.Section(".comment"); s != nil {
			data := make([]byte, min(s.Size, 64<<10))
			n, _ := s.ReadAt(data, 0)
			return strings.Contains(string(data[:n]), "clang")
		}
	}
	return k.Config().Is("CONFIG_CC_IS_CLANG")
}

// makeVariable reads a simple assignment such as "override CC = gcc-12" from a
// makefile. It ignores values that make would have to expand, except for an
// empty $(CROSS_COMPILE) before the name.
func makeVariable(file, name string) string {
	f, _, err := system.OpenRegular(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	value := ""
	scan := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for scan.Scan() {
		line, _, _ := strings.Cut(scan.Text(), "#")
		left, right, ok := strings.Cut(line, "=")
		words := strings.Fields(strings.TrimRight(left, ":?+ \t"))
		if ok && len(words) > 0 && words[len(words)-1] == name {
			value = strings.TrimSpace(right)
		}
	}
	value = strings.TrimPrefix(value, "$(CROSS_COMPILE)")
	if strings.Contains(value, "$") || value == "" {
		return ""
	}
	return value
}
