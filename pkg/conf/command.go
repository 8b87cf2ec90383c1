package conf

import "strings"

// MakeCommand is the command that builds the module for t in buildDir: the
// MAKE that MAKE_MATCH selects, the last one that matches, or else the usual
// make of the kernel's build system.
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

// MakeLine is command with the options for make that are not the conf's
// business, if its first word is exactly make. jobs is the option -j, if there
// is to be one.
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

// Patches are the names of the patches for a kernel, in order.
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

// quote makes s one word of the shell that means nothing but itself.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// quoteUnsafe quotes s only where the shell would take it for more than text,
// since commands end up in logs that are compared.
func quoteUnsafe(s string) string {
	for _, c := range []byte(s) {
		if !isLiteral(c) {
			return quote(s)
		}
	}
	return s
}

// isLiteral reports whether c is nothing but itself wherever it stands in a
// word of the shell, however often the word is evaluated.
func isLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("_./:,@%+=-", c) >= 0
}
