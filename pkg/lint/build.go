package lint

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/makefile"
	"dkms/pkg/system"
)

// running matches commands that read the release of the running kernel.
var running = system.Pattern(`\buname\s+(-[a-z]*r|--kernel-release)`)

// makesRelease matches uses of make's name for the release.
var makesRelease = system.Pattern(`(^|[^\\])\$\{?KERNELRELEASE\b`)

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
		if makesRelease().MatchString(line) && !l.sets("KERNELRELEASE") {
			l.errorf(n, "KERNELRELEASE is a variable of make, and empty here; the kernel to build for is $kernelver")
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
	placeholder = system.Pattern(`^([#@%]).*([#@%])$`)
	jobs        = system.Pattern(`(^|\s)(-j|--jobs)(\s|=|[0-9]|\$|$)`)
)

// commands checks the make commands.
func (l *linter) commands(m *conf.Module) {
	for _, i := range m.Make.Indexes() {
		command, line := strings.TrimSpace(m.Make[i]), l.assignedAt("MAKE", fmt.Sprint(i))
		switch {
		case strings.HasPrefix(command, "'make'") || strings.HasPrefix(command, `"make"`):
			l.warnf(line, "make in quotes is given neither the number of jobs nor KERNELRELEASE")
		case strings.HasPrefix(command, "'make ") || strings.HasPrefix(command, `"make `):
			l.errorf(line, "the quotes inside MAKE make one word of the whole command, and no program has that name")
		}
		l.verbs(command, line)
		if jobs().MatchString(command) {
			l.warnf(line, "-j is for dkms to decide: it knows how many processors are free")
		}
		if l.inSources(m, command, line) {
			l.errorf(line, "MAKE works in the sources, which a build may not change: it starts in a copy of them, $dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build")
		}
	}
}

var place = system.Pattern(`(?:-C\s*|--directory[= ]|\bcd\s+|\b(?:M|SUBDIRS|KBUILD_EXTMOD)=)["'\\]*(\$\{?source_tree\b|/[^\s"';&|]+)`)

// inSources reports whether a command works in the source tree instead of the
// copy that dkms makes.
func (l *linter) inSources(m *conf.Module, command string, line int) bool {
	text := command
	if lines := strings.Split(l.text, "\n"); line > 0 && line <= len(lines) {
		text += "\n" + lines[line-1]
	}
	for _, p := range place().FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(p[1], "$") || below(p[1], "/usr/src/"+m.Name+"-"+m.Version) || below(p[1], l.Dir) {
			return true
		}
	}
	return false
}

func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// makefiles checks the makefiles that a build can reach.
func (l *linter) makefiles(m *conf.Module) {
	command := m.MakeCommand(l.Target, "DIR")
	usual := command == (&conf.Module{}).MakeCommand(l.Target, "DIR")
	files, partial := l.reach(m)
	for _, f := range files {
		l.makefile(f, command)
	}
	if !partial {
		l.objects(m, files, usual)
	}
	if release := conf.MakeLine(command, "", l.Target.Release); release != command && !kernelDir().MatchString(command) && len(files) > 0 {
		if n := files[0].OnlyOutside(); n > 0 {
			l.remarks = append(l.remarks, Remark{files[0].Path, n, true,
				"MAKE calls make with KERNELRELEASE set, and this makefile has no rule then: leave MAKE out of dkms.conf, or let it call make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build"})
		}
	}
	if usual && len(m.Records) > 0 && !system.IsFile(filepath.Join(l.Dir, "Makefile")) && !system.IsFile(filepath.Join(l.Dir, "Kbuild")) {
		l.errorf(0, "there is neither a Makefile nor a Kbuild in %s, and no MAKE", l.Dir)
	}
}

var (
	kernelDir = system.Pattern(`\s(-C|--directory)[ =]?`)
	callsMake = system.Pattern(`(\$[({]MAKE[)}]|\bmake\b).*\s-C`)
)

// makefile looks for uses of the running kernel, and for what kernels do not
// know any more. A make command that calls the kernel's own build reads only
// what the makefile makes; one that names the kernel overrides the variables of
// the makefile, but not its commands.
func (l *linter) makefile(f *makefile.File, command string) {
	about := l.aboutTarget(command)
	if about && kernelDir().MatchString(command) {
		return
	}
	for _, line := range f.Lines {
		switch {
		case line.Recipe && subdirs().MatchString(line.Text) && callsMake().MatchString(line.Text):
			l.remarks = append(l.remarks, Remark{f.Path, line.Number, true, subdirsText})
		case !running().MatchString(line.Text), !line.Recipe && line.Sets() == "KERNELRELEASE":
		case about && line.Recipe && callsMake().MatchString(line.Text):
			l.remarks = append(l.remarks, Remark{f.Path, line.Number, false, "uname -r is the running kernel, whatever kernel MAKE names"})
		case !about:
			l.remarks = append(l.remarks, Remark{f.Path, line.Number, false, "uname -r is the running kernel, and MAKE does not say which kernel to build for"})
		}
	}
}

// reach returns the makefiles that a build can reach; partial says that there
// may be others.
func (l *linter) reach(m *conf.Module) (files []*makefile.File, partial bool) {
	var dirs, commands []string
	for _, record := range m.Records {
		dirs = append(dirs, record.BuiltLocation)
	}
	for _, i := range m.Make.Indexes() {
		commands = append(commands, m.Make[i])
	}
	return makefile.Reach(l.Dir, dirs, commands)
}

// objects looks for modules that no makefile makes.
func (l *linter) objects(m *conf.Module, files []*makefile.File, usual bool) {
	names, whole := makefile.Names(files)
	if !whole || m.PreBuild != "" {
		return
	}
	for i, r := range m.Records {
		if r.BuiltName == "" || slices.Contains(names, r.BuiltName) {
			continue
		}
		text := fmt.Sprintf("no obj-m of the makefiles makes BUILT_MODULE_NAME[%d]=%s, they make %s", i, r.BuiltName, strings.Join(names, ", "))
		l.remarks = append(l.remarks, Remark{l.File, l.assignedAt("BUILT_MODULE_NAME", fmt.Sprint(i)), usual, text})
	}
}

// aboutTarget reports whether a command names the kernel or its headers.
func (l *linter) aboutTarget(command string) bool {
	return l.Target.Release != "" && strings.Contains(command, l.Target.Release) || l.Target.SourceDir != "" && strings.Contains(command, l.Target.SourceDir)
}
