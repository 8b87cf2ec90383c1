package lint

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/system"
	"dkms/pkg/version"
)

// machines are the outputs of uname -m on the machines that Linux supports.
var machines = []string{
	"x86_64", "i386", "i486", "i586", "i686", "aarch64", "armv6l", "armv7l", "armv8l", "armv5tel", "ppc", "ppc64", "ppc64le",
	"s390x", "riscv64", "riscv32", "loongarch64", "mips", "mips64", "sparc64", "alpha", "parisc", "parisc64", "ia64", "m68k", "sh4",
}

// limits looks for BUILD_EXCLUSIVE_* that exclude every kernel.
func (l *linter) limits(m *conf.Module) {
	for _, i := range m.Exclusive.KernelMin.Indexes() {
		least, most := m.Exclusive.KernelMin.At(i), m.Exclusive.KernelMax.At(i)
		if least != "" && most != "" && version.Compare(least, most) > 0 {
			l.errorf(l.assignedAt("BUILD_EXCLUSIVE_KERNEL_MIN", fmt.Sprint(i)), "BUILD_EXCLUSIVE_KERNEL_MIN=%s is above BUILD_EXCLUSIVE_KERNEL_MAX=%s: no kernel is left", least, most)
		}
	}
	for _, i := range m.Exclusive.Arch.Indexes() {
		if arch := m.Exclusive.Arch.At(i); arch != "" && !anyMachine(arch) {
			l.errorf(l.assignedAt("BUILD_EXCLUSIVE_ARCH", fmt.Sprint(i)), "BUILD_EXCLUSIVE_ARCH=%s: no machine calls itself that: uname -m says x86_64 or aarch64, for example", arch)
		}
	}
}

// anyMachine reports whether BUILD_EXCLUSIVE_ARCH admits at least one machine.
func anyMachine(pattern string) bool {
	m := conf.Module{Records: []conf.Record{{}}, Exclusive: conf.Exclusive{Arch: conf.Array{0: pattern}}}
	for _, arch := range machines {
		if excluded, _ := m.Excluded(conf.Target{Arch: arch}, nil); !excluded {
			return true
		}
	}
	return false
}

var (
	repeated   = system.Pattern(`[0-9]\*`)
	unfinished = system.Pattern(`^\^?[0-9]+\\?\.[0-9]+$`)
	subdirs    = system.Pattern(`\bSUBDIRS=`)
	installs   = system.Pattern(`\bmake\b.*\s(modules_)?install\b|\b(depmod|insmod|modprobe)\b`)
)

const subdirsText = "SUBDIRS= means nothing to today's kernels, which build their own modules then: M="

// kernels are releases of the kernel: the first of each version.
func kernels() []string {
	var list []string
	for _, series := range []struct{ major, last int }{{3, 19}, {4, 20}, {5, 19}, {6, 19}, {7, 19}} {
		for minor := range series.last + 1 {
			list = append(list, fmt.Sprintf("%d.%d.0", series.major, minor))
		}
	}
	return list
}

// releases checks regular expressions that are matched against kernel releases.
func (l *linter) releases(name string, list conf.Array) {
	for _, i := range list.Indexes() {
		expr, line := list[i], l.assignedAt(name, fmt.Sprint(i))
		switch {
		case repeated().MatchString(expr):
			l.warnf(line, "%s=%s is a regular expression and no file name: the * repeats the digit before it, and fits without it, too", name, expr)
		case unfinished().MatchString(expr):
			number := strings.ReplaceAll(strings.TrimPrefix(expr, "^"), `\`, "")
			l.warnf(line, "%s=%s fits %s0, too: ^%s([^0-9]|$) does not", name, expr, number, strings.ReplaceAll(number, ".", `\.`))
		case tooMany(expr) != "":
			number := tooMany(expr)
			l.warnf(line, "%s=%s fits %s0 to %s9, as it fits %s: %s([^0-9]|$) does not", name, expr, number, number, number, strings.ReplaceAll(number, ".", `\.`))
		}
	}
}

// tooMany returns the version, such as 6.1, that is meant by an expression which
// fits 6.10 to 6.19, too, or "". An expression that fits 6.2 to 6.9 as well
// means all of them.
func tooMany(expr string) string {
	m := conf.Module{Patch: conf.Array{0: "x"}, PatchMatch: conf.Array{0: expr}}
	fits := func(major, minor int) bool { return len(m.Patches(fmt.Sprintf("%d.%d.0-1", major, minor))) > 0 }
	for major := 3; major < 8; major++ {
		ones, others := 0, 0
		for minor := 1; minor < 20; minor++ {
			if n := minor; fits(major, n) && (n == 1 || n >= 10) {
				ones++
			} else if n > 1 && n < 10 && fits(major, n) {
				others++
			}
		}
		if ones == 11 && others == 0 {
			return fmt.Sprintf("%d.1", major)
		}
	}
	return ""
}

// verbs checks the targets of make.
func (l *linter) verbs(command string, line int) {
	if subdirs().MatchString(command) {
		l.errorf(line, "%s", subdirsText)
	}
	if installs().MatchString(command) {
		l.errorf(line, "installing is for dkms to do: a build may not change the system")
	}
}

// maxSource bounds a source file, in bytes.
const maxSource = 4 << 20

// moduleVersion looks for MODULE_VERSION, which serves to recognise the newer
// of two modules.
func (l *linter) moduleVersion() {
	any, found := false, false
	filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".c" {
			return nil
		}
		if st, err := d.Info(); err != nil || st.Size() > maxSource {
			return nil
		}
		any = true
		text, _ := os.ReadFile(path)
		if bytes.Contains(text, []byte("MODULE_VERSION")) {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	if any && !found {
		l.warnf(0, "no source has MODULE_VERSION: which of two builds is newer, and whether the kernel's own module is, cannot be told")
	}
}
