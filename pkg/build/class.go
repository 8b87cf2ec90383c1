package build

import (
	"path"
	"strings"

	"dkms/pkg/system"
)

// class is the kind of cause of a failed build, as far as its log shows one.
type class int

const (
	unknown class = iota
	stall
	memory
	disk
	sandbox
	limit
	network
	missingTool
	missingLibrary
	systemHeader
	kernelHeader
	missing
	wrongMachine
	unprepared
	otherKernel
	patchApplied
	patchOutdated
	compiler
	kernelInterface
)

// marks are patterns of log lines, the most reliable first. The meaning of
// marks of the sandbox, its limits and the network depends on whether the build
// was confined.
var marks = []struct {
	class class
	texts []string
}{
	{memory, []string{
		"Killed signal terminated program", "] Killed", "] Error 137", "exit status 137", "ended by signal: killed",
		"Cannot allocate memory", "virtual memory exhausted", "out of memory allocating",
	}},
	{disk, []string{"No space left on device", "Disk quota exceeded"}},
	{wrongMachine, []string{"Exec format error", "cannot execute binary file"}},
	{unprepared, []string{
		"Kernel configuration is invalid", "scripts/basic/fixdep: not found", "scripts/mod/modpost: not found", "objtool/objtool: not found",
		"scripts/basic/fixdep: No such file", "scripts/mod/modpost: No such file", "needed by 'scripts/mod/modpost'", "scripts/module.lds', needed by",
	}},
	{patchApplied, []string{"Reversed (or previously applied) patch detected"}},
	{patchOutdated, []string{"hunk FAILED", "hunks FAILED", "hunk ignored", "hunks ignored", "can't find file to patch"}},
	{limit, []string{"of the disk were taken while it ran", "File size limit exceeded", "File too large", "fork: retry: Resource temporarily unavailable"}},
	{network, []string{"Network is unreachable", "Temporary failure in name resolution", "Could not resolve host", "Failed to connect to ", "Connection timed out", "Connection refused"}},
	{sandbox, []string{
		"Read-only file system", "Operation not permitted", "must be root", "Permission denied", "as root", "root privileges", "Bad system call",
	}},
	{missingLibrary, []string{
		"cannot find -l", "unable to find library -l", "was not found in the pkg-config search path", "No package '",
		"error while loading shared libraries: ", "Can't locate ", "ModuleNotFoundError: ", "ImportError: ",
	}},
	{missing, []string{"please install", "Please install", "is not installed", "not installed", "to be installed", "You need to install"}},
	{compiler, []string{
		"unrecognized command-line option", "unrecognized command line option", "unknown argument:", "unknown warning option",
		"unsupported option", "cc1: error:", "gcc: error:", "clang: error:", "incompatible gcc/plugin versions", "no such instruction",
	}},
	{kernelInterface, []string{
		"implicit declaration of function", "undeclared function", "has no member named", "no member named", "incompatible pointer type", "incompatible-pointer-types",
		"too few arguments to function", "too many arguments to function", "undeclared", "unknown type name", "conflicting types for",
		"storage size of", "incomplete type", "invalid use of undefined type", "undefined!", "passing argument", "incompatible function pointer",
		"GPL-incompatible module", "uses GPL-only symbol", "lacks a cast",
	}},
}

func marksOf(c class) []string {
	var texts []string
	for _, m := range marks {
		if m.class == c || c == sandbox && (m.class == network || m.class == limit) {
			texts = append(texts, m.texts...)
		}
	}
	return texts
}

// diagnosis is the cause of a failed build and, where known, the program, file
// or library that caused it.
type diagnosis struct {
	class   class
	subject string
}

// diagnose looks at the lines in order; the first line with a known pattern
// decides. kernel is the release that the build was for.
func diagnose(lines []string, kernel string, confined bool) diagnosis {
	for _, line := range lines {
		if program := missingProgram(line); program != "" {
			return diagnosis{missingTool, program}
		}
		if d := missingHeader(line); d.class != unknown {
			return d
		}
		if other := otherRelease(line, kernel); other != "" {
			return diagnosis{otherKernel, other}
		}
		for _, m := range marks {
			switch c := m.class; {
			case !containsAny(line, m.texts) || (c == sandbox || c == limit) && !confined:
			case c == network && confined:
				return diagnosis{class: sandbox}
			default:
				return diagnosis{c, subjectOf(c, line)}
			}
		}
	}
	return diagnosis{}
}

// missingProgram is the program that a shell, make, env or this program did not
// find, or "" if the line names none.
func missingProgram(line string) string {
	line = strings.TrimSpace(line)
	if name, _, ok := strings.Cut(line, ": "+system.ErrNoProgram.Error()+" in "); ok && !strings.ContainsAny(name, " /") {
		return name
	}
	for _, end := range []string{": command not found", ": Command not found", ": not found", ": No such file or directory"} {
		rest, ok := strings.CutSuffix(line, end)
		if !ok {
			continue
		}
		before, name, found := cutLast(rest, ": ")
		name = strings.Trim(name, "‘’'`\"")
		if !found || strings.ContainsAny(name, " /*") || name == "" {
			continue
		}
		ran := end == ": command not found" || end == ": Command not found"
		switch {
		case ran, end == ": not found" && endsWithNumber(before):
			return name
		case end == ": No such file or directory" && (isMake(before) || before == "env" || strings.HasSuffix(before, "/env")):
			return name
		}
	}
	if before, rest, ok := strings.Cut(line, ": bad interpreter: "); ok { // FILE: PROGRAM: bad interpreter: ...
		_, program, _ := cutLast(before, ": ")
		if rest != "Permission denied" {
			return path.Base(program)
		}
	}
	return ""
}

// endsWithNumber recognizes the prefix of a shell's message, such as "sh: 1".
func endsWithNumber(s string) bool {
	_, number, ok := cutLast(s, ": ")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// isMake recognizes make's own prefix: make or make[N].
func isMake(s string) bool {
	rest, ok := strings.CutPrefix(s, "make")
	return ok && strings.Trim(rest, "[]0123456789") == ""
}

// kernelDirs are the directories of the kernel's own headers, below its include
// directories.
var kernelDirs = []string{
	"linux", "asm", "asm-generic", "net", "drm", "sound", "media", "rdma", "scsi", "crypto", "generated", "uapi", "video", "trace", "acpi",
	"kunit", "dt-bindings", "xen", "target", "soc", "pcmcia", "misc", "memory", "keys", "kvm", "clocksource", "ras", "vdso", "cxl", "hyperv", "ufs",
}

// missingHeader tells which header the compiler did not find, and whose header
// it is: the kernel's, a library's or the C compiler's.
func missingHeader(line string) diagnosis {
	_, rest, ok := strings.Cut(line, ": fatal error: ")
	if !ok {
		return diagnosis{}
	}
	name, _, ok := strings.Cut(rest, ": No such file or directory")
	if !ok {
		if name, ok = strings.CutSuffix(rest, " file not found"); !ok { // clang
			return diagnosis{}
		}
	}
	name = strings.Trim(name, "'\"")
	dir, _, _ := strings.Cut(name, "/")
	for _, d := range kernelDirs {
		if dir == d && dir != name {
			return diagnosis{kernelHeader, name}
		}
	}
	return diagnosis{systemHeader, name}
}

// A makefile may ask uname for the kernel. otherRelease is the kernel whose
// directory make did not find, if the build is for another kernel.
func otherRelease(line, kernel string) string {
	_, rest, ok := strings.Cut(line, "/lib/modules/")
	if !ok || !strings.Contains(line, "No such file or directory") {
		return ""
	}
	release, _, _ := strings.Cut(rest, "/")
	if release == kernel || release == "" || strings.ContainsAny(release, " :'‘") {
		return ""
	}
	return release
}

// subjectOf is the program, file or library that a line of a class names.
func subjectOf(c class, line string) string {
	if c != missingLibrary {
		return ""
	}
	for _, form := range []struct{ before, after string }{
		{"cannot find -l", ": "}, {"unable to find library -l", " "}, {"Package ", " was not found"}, {"No package '", "'"},
		{"shared libraries: ", ":"}, {"Can't locate ", " in @INC"}, {"No module named '", "'"},
	} {
		if _, rest, ok := strings.Cut(line, form.before); ok {
			name, _, _ := strings.Cut(rest, form.after)
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// transient tells whether another try may succeed although no input of the
// fingerprint has changed: what is missing may exist by then.
func (d diagnosis) transient() bool {
	switch d.class {
	case memory, disk, network, missingTool, missingLibrary, systemHeader, missing:
		return true
	}
	return false
}

// words is the text that follows the name of the failed step.
func (d diagnosis) words() string {
	named := func(what string) string {
		if d.subject == "" {
			return ": a " + what + " is missing"
		}
		return ": the " + what + " " + d.subject + " is missing"
	}
	switch d.class {
	case memory:
		return ": there was not enough memory"
	case disk:
		return ": there was no room on the disk"
	case sandbox:
		return ": it tried what a build may not do"
	case limit:
		return ": it took more than a build may"
	case network:
		return ": the network did not answer"
	case missingTool:
		return named("program")
	case missingLibrary:
		return named("library or module")
	case systemHeader:
		return named("header file")
	case kernelHeader:
		return ": this kernel has no header file " + d.subject
	case missing:
		return ": something that it needs is not installed"
	case wrongMachine:
		return ": a program was made for another kind of machine"
	case unprepared:
		return ": the sources of the kernel are not prepared for modules"
	case otherKernel:
		return ": its makefile builds for kernel " + d.subject
	case patchApplied:
		return ": the sources have this change already"
	case patchOutdated:
		return ": the patch was made for other sources"
	case kernelInterface:
		return ": the module does not fit the interfaces of this kernel"
	case compiler:
		return ": the compiler does not fit the kernel"
	}
	return ""
}

// advice is the next step for a module, besides reading the log. line is the
// line of the log that shows the failure.
func (d diagnosis) advice(log, module, line string) string {
	switch d.class {
	case stall:
		return log + "; build_time_limit in framework.conf sets how long a build may do nothing"
	case memory, disk:
		return log + "; make room and run the same command again"
	case limit:
		return log + "; build_disk_limit, build_file_limit and build_process_limit in /etc/dkms/framework.conf are the limits"
	case sandbox:
		asRoot := "BUILD_SANDBOX=no in /etc/dkms/" + module + ".conf builds this module as root"
		if option, what := allowing(line); option != "" {
			return log + "; builds have no " + what + ": build_sandbox_allow=" + option + " in /etc/dkms/framework.conf lets all builds have it, and " + asRoot
		}
		return log + "; builds may only write to their own directory and to directories such as /tmp, and have no network: " + asRoot
	case network:
		return log + "; run the same command again when the network is there"
	case missingTool, missingLibrary, systemHeader:
		return log + "; install " + d.packages() + " and run the same command again"
	case missing:
		return log + "; install what it asks for and run the same command again"
	case wrongMachine:
		return log + "; install the headers of this kernel for this machine, or build on the machine that they are for"
	case unprepared:
		return log + "; run make modules_prepare in the sources of the kernel, or build the kernel there"
	case otherKernel:
		return log + "; the makefile names a kernel itself or asks uname: name the kernel in dkms.conf, as in MAKE=\"make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build\""
	case patchApplied:
		return log + "; take the patch out of PATCH[] in dkms.conf, or give it a PATCH_MATCH"
	case patchOutdated:
		return log + "; a patch in /etc/dkms/" + module + "/patches, or the package's own for this version, has to be made anew"
	case compiler:
		return log + "; install the compiler that the kernel was built with"
	case kernelInterface, kernelHeader:
		return log + "; a newer version of the module may know this kernel"
	}
	return log
}

// packages names what provides the missing thing: the packages, where they are
// the usual cause and have a different name, or else the thing itself.
func (d diagnosis) packages() string {
	for _, p := range []struct{ prefix, packages string }{
		{"libelf", "libelf-dev (elfutils-libelf-devel, libelf)"}, {"gelf.h", "libelf-dev (elfutils-libelf-devel, libelf)"}, {"elf", "libelf-dev (elfutils-libelf-devel, libelf)"},
		{"openssl/", "libssl-dev (openssl-devel, openssl)"}, {"ssl", "libssl-dev (openssl-devel, openssl)"}, {"crypto", "libssl-dev (openssl-devel, openssl)"},
		{"std", "libc6-dev (glibc-devel, glibc)"}, {"sys/", "libc6-dev (glibc-devel, glibc)"}, {"gnu/stubs", "libc6-dev (glibc-devel, glibc)"},
		{"pahole", "pahole (dwarves)"}, {"ld.lld", "lld"}, {"python", "python3"}, {"xxd", "xxd (vim-common)"},
	} {
		if strings.HasPrefix(d.subject, p.prefix) {
			return p.packages
		}
	}
	switch {
	case d.subject == "":
		return "what is missing"
	case d.class == systemHeader:
		return "the development package that has " + d.subject
	case d.class == missingLibrary:
		return "the package that has " + d.subject
	}
	return d.subject
}

// allowing is the word of build_sandbox_allow that permits what a line of a log
// says was refused, and the name of what was refused.
func allowing(line string) (option, what string) {
	for _, network := range []string{"Network is unreachable", "Temporary failure in name resolution", "Could not resolve host"} {
		if strings.Contains(line, network) {
			return "network", "network"
		}
	}
	if strings.Contains(line, "ocket") && strings.Contains(line, "Operation not permitted") {
		return "sockets", "Unix sockets"
	}
	return "", ""
}

// memoryError says that a build ended because memory ran out.
type memoryError struct{ error }

// Unwrap returns the underlying error for [errors.Is] and [errors.As].
func (e *memoryError) Unwrap() error { return e.error }
