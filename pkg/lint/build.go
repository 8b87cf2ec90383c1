package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/system"
)

// running matches commands that read the release of the running kernel.
var running = pattern(`\buname\s+(-[a-z]*r|--kernel-release)`)

// lines checks the text of the configuration.
func (l *linter) lines() {
	n, carriage := 0, false
	for line := range strings.Lines(l.text) {
		n++
		if strings.HasSuffix(line, "\r\n") && !carriage {
			carriage = true
			l.warnf(n, "the lines end in CR LF")
		}
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		m := assignmentLine().FindStringSubmatch(line)
		switch {
		case !running().MatchString(line):
		case m != nil && (m[1] == "MAKE" || strings.HasPrefix(m[1], "BUILD_EXCLUSIVE")):
			l.errorf(n, "uname -r is the running kernel; the one to build for is $kernelver")
		default:
			l.warnf(n, "uname -r is the running kernel; the one to build for is $kernelver")
		}
	}
	if m := l.Result.Conf; m != nil && placeholder().MatchString(m.Version) {
		l.warnf(l.assigned("PACKAGE_VERSION"), "PACKAGE_VERSION=%s looks like a placeholder", m.Version)
	}
}

var (
	placeholder = pattern(`^([#@%]).*([#@%])$`)
	jobs        = pattern(`(^|\s)(-j|--jobs)(\s|=|[0-9]|\$|$)`)
)

// commands checks the make commands.
func (l *linter) commands(m *conf.Module) {
	for _, i := range m.Make.Indexes() {
		command, line := strings.TrimSpace(m.Make[i]), l.assignedAt("MAKE", fmt.Sprint(i))
		if strings.HasPrefix(command, "'make'") || strings.HasPrefix(command, `"make"`) {
			l.warnf(line, "make in quotes is given neither the number of jobs nor KERNELRELEASE")
		}
		l.verbs(command, line)
		if jobs().MatchString(command) {
			l.warnf(line, "-j is for dkms to decide: it knows how many processors are free")
		}
	}
}

// makefiles checks the makefiles at the top of the sources and in the
// directories where modules are built.
func (l *linter) makefiles(m *conf.Module) {
	dirs := []string{l.Dir}
	for _, r := range m.Records {
		if dir := filepath.Join(l.Dir, r.BuiltLocation); filepath.IsLocal(r.BuiltLocation) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		for _, name := range []string{"GNUmakefile", "makefile", "Makefile", "Kbuild"} {
			if file := filepath.Join(dir, name); system.IsFile(file) {
				l.makefile(m, file)
			}
		}
	}
	if m.MakeCommand(l.Target, "DIR") != (&conf.Module{}).MakeCommand(l.Target, "DIR") || len(m.Records) == 0 {
		return
	}
	if !system.IsFile(filepath.Join(l.Dir, "Makefile")) && !system.IsFile(filepath.Join(l.Dir, "Kbuild")) {
		l.errorf(0, "there is neither a Makefile nor a Kbuild in %s, and no MAKE", l.Dir)
	}
}

var makeVariable = pattern(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*[:?]{0,2}=`)

// makefile looks for uses of the running kernel. It skips a makefile whose make
// command names the kernel, because the command line overrides the makefile.
func (l *linter) makefile(m *conf.Module, file string) {
	command := m.MakeCommand(l.Target, "DIR")
	text, err := os.ReadFile(file)
	if err != nil || l.aboutTarget(command) {
		return
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		v := makeVariable().FindStringSubmatch(line)
		if strings.HasPrefix(strings.TrimSpace(line), "#") || !running().MatchString(line) || v != nil && v[1] == "KERNELRELEASE" {
			continue
		}
		l.remarks = append(l.remarks, Remark{file, n, false, "uname -r is the running kernel, and MAKE does not say which kernel to build for"})
	}
}

// aboutTarget reports whether a command names the kernel or its headers.
func (l *linter) aboutTarget(command string) bool {
	return l.Target.Release != "" && strings.Contains(command, l.Target.Release) || l.Target.SourceDir != "" && strings.Contains(command, l.Target.SourceDir)
}
