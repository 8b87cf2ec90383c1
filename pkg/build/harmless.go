package build

import "strings"

// noise lists starts of lines of kernel builds that look like errors and are
// harmless, with their meaning. Blanks may precede them.
var noise = []struct{ mark, meaning string }{
	{"Skipping BTF generation for ", "the module works without BTF, which only tracing tools read"},
	{"warning: the compiler differs from the one used to build the kernel", "another release of the compiler is all right as long as the build ends well"},
	{"warning: pahole version differs from the one used to build the kernel", "it only matters to BTF"},
	{"The kernel was built by: ", "see the line before"},
	{"You are using:", "see the line before"},
	{"Warning: modules_install: missing 'System.map' file", "depmod is run without it"},
	{"warning: jobserver unavailable: using -j1", "it only takes longer"},
	{"FAILED: load BTF from vmlinux: ", "the module works without BTF, which only tracing tools read"},
	{"fatal: not a git repository", "the package asks git for its version, and does without"},
	{"fatal: No names found, cannot describe anything", "the package asks git for its version, and does without"},
	{"fatal: No tags can describe", "the package asks git for its version, and does without"},
	{"fatal: detected dubious ownership in repository", "the package asks git for its version, and does without"},
	{"libbpf: failed to find '.BTF' ELF section in ", "the module works without BTF, which only tracing tools read"},
}

// Harmless explains a line of a build log that looks like an error and is
// harmless; for every other line it returns "".
func Harmless(line string) string {
	text := strings.TrimSpace(line)
	if rest, ok := strings.CutPrefix(text, "make"); ok { // "make[2]: warning: ..."
		if _, said, ok := strings.Cut(rest, ": "); ok {
			text = said
		}
	}
	for _, n := range noise {
		if strings.HasPrefix(text, n.mark) {
			return n.meaning
		}
	}
	return ""
}
