package conf

import "strings"

// MakeCommand returns the command that builds the module for t in buildDir: the
// MAKE of the last MAKE_MATCH that matches, or else the usual make command of
// the kernel's build system.
func (m *Module) MakeCommand(t Target, buildDir string) string {
	command := ""
	if m.MakeMatch.At(0) == "" {
		command = m.Make.At(0)
	}
	for _, i := range m.Make.Indexes() {
		pattern := m.MakeMatch.At(i)
		if m.Make[i] != "" && pattern != "" && matchERE(pattern, t.Release) {
			command = m.Make[i]
		}
	}
	if command == "" {
		command = "make -C " + quoteUnsafe(t.SourceDir) + " M=" + quoteUnsafe(buildDir)
	}
	if t.Clang {
		command += " LLVM=1"
	}
	return command
}

// MakeLine returns command with the make options that no dkms.conf sets, if the
// first word of command is exactly make. jobs is the option -j; it may be
// empty.
func MakeLine(command, jobs, release string) string {
	rest, ok := strings.CutPrefix(command, "make")
	if !ok || rest != "" && !strings.ContainsRune(" \t\n;&|()<>", rune(rest[0])) {
		return command
	}
	if jobs != "" {
		jobs = " " + quoteUnsafe(jobs)
	}
	return "make" + jobs + " KERNELRELEASE=" + quoteUnsafe(release) + rest
}

// Patches returns the names of the patches for a kernel, in order.
func (m *Module) Patches(release string) []string {
	var list []string
	for _, i := range m.Patch.Indexes() {
		pattern := m.PatchMatch.At(i)
		if m.Patch[i] != "" && (pattern == "" || matchERE(pattern, release)) {
			list = append(list, m.Patch[i])
		}
	}
	return list
}

// quote returns s as one word of the shell without any expansion.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// quoteUnsafe quotes s only where the shell would expand or split s. Commands
// end up in logs, and people compare logs, so needless quotes are left out.
func quoteUnsafe(s string) string {
	for _, c := range []byte(s) {
		if !isLiteral(c) {
			return quote(s)
		}
	}
	return s
}

// isLiteral reports whether the shell takes c literally anywhere in a word,
// however often the word is evaluated.
func isLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("_./:,@%+=-", c) >= 0
}
