package build

import "strings"

// class is what a failed build is to blame on, as far as its log tells.
type class int

const (
	unknown class = iota
	memory
	disk
	sandbox
	missingTool
	missingHeader
	kernelInterface
	compiler
)

// marks are what the lines of a log say, the surest first. Those of the
// sandbox mean it only where there is one.
var marks = []struct {
	class class
	texts []string
}{
	{memory, []string{
		"Killed signal terminated program", "] Killed", "] Error 137", "exit status 137", "ended by signal: killed",
		"Cannot allocate memory", "virtual memory exhausted", "out of memory allocating",
	}},
	{disk, []string{"No space left on device", "Disk quota exceeded"}},
	{sandbox, []string{
		"Read-only file system", "Network is unreachable", "Temporary failure in name resolution", "Could not resolve host",
		"Operation not permitted", "must be root", "Permission denied",
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
			if m.class == sandbox && !confined {
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

// advice says what to do next about a module, besides reading the log.
func (c class) advice(log, module string) string {
	switch c {
	case memory, disk:
		return log + "; make room and run the same command again"
	case sandbox:
		return log + "; builds may only write to their own directory and to /tmp, and have no network: BUILD_SANDBOX=no in /etc/dkms/" + module + ".conf builds this module as root"
	case kernelInterface:
		return log + "; a newer version of the module may know this kernel"
	}
	return log
}

// memoryError says that a build ended for want of memory.
type memoryError struct{ error }

// Unwrap gives the underlying error to [errors.Is] and [errors.As].
func (e *memoryError) Unwrap() error { return e.error }
