package build

import "strings"

// class is what a failed build is to blame on, as far as its log tells.
type class int

const (
	unknown class = iota
	memory
	disk
	sandbox
	limit
	missingTool
	missingHeader
	kernelInterface
	compiler
)

// marks are what the lines of a log say, the surest first. Those of the
// sandbox and of its limits mean it only where there is one.
var marks = []struct {
	class class
	texts []string
}{
	{memory, []string{
		"Killed signal terminated program", "] Killed", "] Error 137", "exit status 137", "ended by signal: killed",
		"Cannot allocate memory", "virtual memory exhausted", "out of memory allocating",
	}},
	{disk, []string{"No space left on device", "Disk quota exceeded"}},
	{limit, []string{"of the disk were taken while it ran", "File size limit exceeded", "File too large", "fork: retry: Resource temporarily unavailable"}},
	{sandbox, []string{
		"Read-only file system", "Network is unreachable", "Temporary failure in name resolution", "Could not resolve host",
		"Operation not permitted", "must be root", "Permission denied", "Bad system call",
	}},
	{missingTool, []string{": command not found", ": not found", "No such file or directory (os error 2)"}},
	{missingHeader, []string{": fatal error: "}},
	{kernelInterface, []string{
		"implicit declaration of function", "has no member named", "no member named", "incompatible pointer type", "incompatible-pointer-types",
		"too few arguments to function", "too many arguments to function", "undeclared", "unknown type name", "conflicting types for",
		"storage size of", "incomplete type", "invalid use of undefined type", "undefined!", "passing argument",
	}},
	{compiler, []string{
		"unrecognized command-line option", "unrecognized command line option", "unknown argument:", "unknown warning option",
		"unsupported option", "cc1: error:", "gcc: error:", "clang: error:", "incompatible gcc/plugin versions",
	}},
}

// classify looks at the lines in turn; the first that says something decides.
func classify(lines []string, confined bool) class {
	for _, line := range lines {
		for _, m := range marks {
			if (m.class == sandbox || m.class == limit) && !confined {
				continue
			}
			for _, text := range m.texts {
				if strings.Contains(line, text) {
					return m.class
				}
			}
		}
	}
	return unknown
}

// passes tells failures that another try may not have.
func (c class) passes() bool { return c == memory || c == disk }

// words are put behind what failed.
func (c class) words() string {
	switch c {
	case memory:
		return ": there was not enough memory"
	case disk:
		return ": there was no room on the disk"
	case sandbox:
		return ": it tried what a build may not do"
	case limit:
		return ": it took more than a build may"
	case missingTool:
		return ": a program is missing"
	case missingHeader:
		return ": a header file is missing"
	case kernelInterface:
		return ": the module does not fit the interfaces of this kernel"
	case compiler:
		return ": the compiler does not fit the kernel"
	}
	return ""
}

// advice says what to do next about a module, besides reading the log. line is
// what the log says of it.
func (c class) advice(log, module, line string) string {
	switch c {
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
	case kernelInterface:
		return log + "; a newer version of the module may know this kernel"
	}
	return log
}

// allowing is the word of build_sandbox_allow for what a line of a log says was
// refused, and what that is.
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

// memoryError says that a build ended for want of memory.
type memoryError struct{ error }

// Unwrap gives the underlying error to [errors.Is] and [errors.As].
func (e *memoryError) Unwrap() error { return e.error }
