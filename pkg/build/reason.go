package build

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// These constants bound how many lines and bytes of a log are read and quoted.
const (
	errorContext  = 3
	maxLogLine    = 300
	maxLogScanned = 64 << 20
	// maxBefore is how many lines before an error are kept: gcc prints there
	// how it came to a header, and programs print there why they give up.
	maxBefore = 12
)

// FirstError finds the line of a build log that says why the build failed, with
// the lines that belong to it. It prefers the error of a compiler or another
// program, then what the package says before it gives up, then the last lines
// before make's own. It returns nil if the log has none of these.
func FirstError(path string) []string {
	r := &reason{}
	if scanLog(path, func(line string) (more bool) { r.read(line); return true }) != nil {
		return nil
	}
	return r.lines()
}

// Refused finds the first line of a log that says that an operation is not
// permitted, or returns "". Programs may continue and succeed after such a
// line.
func Refused(path string) string {
	refused := ""
	scanLog(path, func(line string) (more bool) {
		if isRefusal(line) {
			refused = line
		}
		return refused == ""
	})
	return refused
}

// scanLog passes the lines of a log to read until read returns false.
func scanLog(path string, read func(line string) (more bool)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	scan := bufio.NewScanner(io.LimitReader(f, maxLogScanned))
	scan.Buffer(make([]byte, 64<<10), 1<<20)
	for scan.Scan() {
		line := scan.Text()
		if !read(strings.ToValidUTF8(line[:min(len(line), maxLogLine)], "")) {
			break
		}
	}
	return scan.Err()
}

// reason is what has been found in a log so far. A block of the log that ends
// well holds no reason, so it is forgotten, and so is the log of an earlier
// build that came with the sources.
type reason struct {
	// done says that the rest of the block does not matter.
	done bool
	// titled says that the last line was the title of the log.
	titled bool
	// found is an error with the lines that belong to it, and open says that
	// more lines may follow; around are the lines that tell how the compiler
	// came there.
	found, around []string
	open          bool
	// absent is a program that was not found. Many packages look for a program,
	// such as git, that they can do without.
	absent []string
	// probe is an error of a test program that only detects features.
	probe []string
	// stated is what the package or make itself says before it gives up.
	stated []string
	// refused is what the system did not permit.
	refused []string
	// before are the latest lines that said anything, and last is the value of
	// before when make first gave up.
	before, last []string
	// makes is the first line in which make gave up.
	makes string
	// listing says that the previous line was one of stated.
	listing bool
}

// read handles one line.
func (r *reason) read(line string) {
	status, over := strings.CutPrefix(line, "# exit code: ")
	switch {
	case isTitle(line):
		*r = reason{titled: true}
	case r.titled: // the next line has the time
		r.titled = false
	case over && status == "0":
		*r = reason{}
	case over:
		r.done = true
	case r.done:
	case r.found != nil:
		r.done = !r.follow(line)
	default:
		r.look(line)
	}
}

// isTitle recognizes the first line of a log, ours and the original's.
func isTitle(line string) bool {
	return strings.HasPrefix(line, "DKMS ") && strings.Contains(line, "make.log for ")
}

// look looks for the first line that says anything.
func (r *reason) look(line string) {
	listed := r.listing
	r.listing = false
	switch {
	case isNothing(line):
		return
	case isMakeFailure(line):
		r.gaveUp(line)
		return
	case missingProgram(line) != "":
		if r.absent == nil {
			r.absent = []string{line}
		}
	case isError(line):
		r.begin(line)
	case isStated(line) && (r.stated == nil || listed && len(r.stated) <= errorContext):
		if r.stated == nil {
			r.stated = warnedBefore(line, r.before)
		}
		r.stated, r.listing = append(r.stated, line), true
	case r.refused == nil && isRefusal(line):
		r.refused = []string{line}
	}
	r.before = append(r.before[max(0, len(r.before)-maxBefore+1):], line)
}

// warnedBefore are the lines that lead up to the line in which a package gives
// up. make puts the name of the makefile before the text of $(warning) and
// $(error). A line between stars, such as "*** Bailing out! ***", closes what a
// script has said.
func warnedBefore(line string, before []string) []string {
	if text := strings.TrimSpace(line); strings.HasPrefix(text, "***") && strings.HasSuffix(text, "***") {
		return slices.Clone(before[max(0, len(before)-errorContext):])
	}
	place, _, ok := strings.Cut(line, ": ***")
	file, number, both := cutLast(place, ":")
	if _, err := strconv.Atoi(number); !ok || !both || err != nil {
		return nil
	}
	var list []string
	for i := len(before) - 1; i >= 0 && len(list) < errorContext; i-- {
		if !strings.HasPrefix(before[i], file+":") {
			break
		}
		if _, text, _ := strings.Cut(before[i], ": "); strings.Trim(text, "=*-#. ") != "" {
			list = append(list, before[i])
		}
	}
	slices.Reverse(list)
	return list
}

// begin notes an error. Most tests of a configure script are meant to fail, so
// an error of a test program counts only if there is no other error.
func (r *reason) begin(line string) {
	if strings.HasPrefix(line, "conftest") || strings.Contains(line, "/conftest") {
		if r.probe == nil {
			r.probe = []string{line}
		}
		return
	}
	r.found, r.open = []string{line}, true
	r.around = append(r.around, r.before...)
}

// gaveUp notes the first line in which make says that a command has failed, and
// the output of the command before it.
func (r *reason) gaveUp(line string) {
	if r.makes == "" {
		r.makes, r.last = line, r.before
	}
	if r.absent != nil && strings.HasSuffix(line, "] Error 127") { // a shell did not find its program
		r.found = r.absent
	}
}

// follow reads the lines after an error. Lines that belong to the error are
// indented or follow a colon. A few more lines may say from where in the user's
// own file the compiler came.
func (r *reason) follow(line string) (more bool) {
	first := r.found[0]
	indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
	switch {
	case r.open && len(r.found) <= errorContext && (indented || strings.HasSuffix(first, ":") && len(r.found) == 1 && line != ""):
		r.found = append(r.found, line)
		return true
	case !inHeader(first):
		return false
	}
	r.open = false
	r.around = append(r.around, line)
	return len(r.around) < 6*maxBefore && !isError(line) && !isMakeFailure(line)
}

// lines are the lines to quote, from the most reliable source that there is.
func (r *reason) lines() []string {
	switch {
	case r.found != nil:
		return atOwnFile(r.found, r.around)
	case r.stated != nil:
		return r.stated
	case r.absent != nil:
		return r.absent
	case r.refused != nil:
		return r.refused
	case r.probe != nil:
		return r.probe
	}
	last := r.last
	if r.makes == "" {
		last = r.before
	}
	last = last[max(0, len(last)-errorContext-1):]
	if len(last) == 0 && r.makes != "" {
		return []string{r.makes}
	}
	return last
}

// If the compiler reports an error in a macro or an inlined function of a
// kernel's header, the user has to change their own file. atOwnFile therefore
// puts the place in that file first.
func atOwnFile(found, around []string) []string {
	if !inHeader(found[0]) {
		return found
	}
	place := ""
	for _, line := range around {
		for _, mark := range []string{"note: in expansion of macro ", "inlined from ", "In file included from ", "                 from "} {
			if !strings.Contains(line, mark) {
				continue
			}
			if p := placeIn(line); p != "" && !isHeader(p) {
				place = p
			}
		}
	}
	header, text, ok := strings.Cut(found[0], ": ")
	if place == "" || !ok {
		return found
	}
	return append([]string{place + ": " + text + " (reported in " + header + ")"}, found[1:]...)
}

// placeIn is the FILE:LINE or FILE:LINE:COLUMN in a line of gcc, or "" if there
// is none.
func placeIn(line string) string {
	for word := range strings.FieldsSeq(line) {
		word = strings.TrimRight(word, ",:")
		parts := strings.Split(word, ":")
		if len(parts) < 2 || parts[0] == "" {
			continue
		}
		if _, err := strconv.Atoi(parts[len(parts)-1]); err == nil {
			return word
		}
	}
	return ""
}

// inHeader tells whether a line reports an error in a kernel's header.
func inHeader(line string) bool {
	place, _, ok := strings.Cut(line, ": ")
	return ok && isHeader(place) && placeIn(place) != ""
}

// isHeader tells whether a file is one of a kernel's headers: Kbuild names them
// by relative paths, or they are where distributions install them.
func isHeader(path string) bool {
	path = strings.TrimPrefix(path, "./")
	for _, dir := range []string{"include/", "arch/", "/usr/src/linux", "/usr/src/kernels/", "/usr/lib/modules/", "/lib/modules/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return strings.Contains(path, "/include/linux/") || strings.Contains(path, "/include/asm")
}

// isNothing recognizes lines that say nothing about a failure: progress reports
// of make and Kbuild, headers of the log's blocks, tests that a script prints
// as comments, and harmless lines.
func isNothing(line string) bool {
	text := strings.TrimSpace(line)
	switch {
	case text == "" || strings.HasPrefix(text, "//") || strings.HasPrefix(line, "#") || strings.HasPrefix(text, ruler):
		return true
	case strings.HasPrefix(text, "make") && (strings.Contains(text, ": Entering directory ") || strings.Contains(text, ": Leaving directory ")):
		return true
	case blockTitles[text] || strings.HasPrefix(text, "Applying patch "):
		return true
	}
	return Harmless(line) != "" || isProgress(text)
}

// blockTitles are the first lines of the log's blocks.
var blockTitles = map[string]bool{
	"Building module(s)": true, "Running the pre_build script": true, "Running the post_build script": true,
}

// isProgress recognizes Kbuild's short lines, such as "CC [M] foo.o".
func isProgress(text string) bool {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "CC", "LD", "AS", "AR", "CPP", "HOSTCC", "HOSTLD", "GEN", "UPD", "CHK", "WRAP", "MODPOST", "BTF", "CALL", "DESCEND", "SYNC", "KSYMTAB", "RUSTC":
		return strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "[")
	}
	return false
}

// isRefusal recognizes messages of programs that lack a permission. Other
// errors say more, if there are any.
func isRefusal(line string) bool {
	return !strings.HasPrefix(line, "#") && containsAny(line, marksOf(sandbox))
}

func containsAny(line string, texts []string) bool {
	for _, text := range texts {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// errorMarks are parts of lines that say what went wrong.
var errorMarks = []string{
	": error: ", ": fatal error: ", ": Error: ", "ERROR: modpost:", "FATAL: modpost:", ".ko] undefined!",
	": undefined reference to ", "ld: cannot find ", ": syntax error", ": Syntax error",
	"No space left on device", "hunk FAILED", "hunks FAILED", "hunk ignored", "hunks ignored", "patch: ****", "can't find file to patch",
	"Reversed (or previously applied) patch detected", "Killed signal terminated program", "Exec format error", "bad interpreter: ",
	"cannot execute: required file not found", "cannot execute binary file", "Can't locate ", "ModuleNotFoundError: ", "ImportError: ",
	"was not found in the pkg-config search path", "No package '", "error while loading shared libraries: ",
}

// errorStarts are starts of such lines, after blanks and in any case.
var errorStarts = []string{"error:", "error[", "fatal:", "fatal error:", "configure: error:", "cmake error"}

// isError recognizes the error messages of gcc, clang, ld, modpost, patch, the
// shells, perl, python, configure and the preprocessor.
func isError(line string) bool {
	if strings.HasPrefix(line, "#") || isMakeFailure(line) {
		return false
	}
	lower := strings.ToLower(strings.TrimSpace(line))
	for _, start := range errorStarts {
		if strings.HasPrefix(lower, start) {
			return true
		}
	}
	return containsAny(line, errorMarks)
}

// isMakeFailure recognizes make's line that a command has failed, which says
// nothing about the cause.
func isMakeFailure(line string) bool {
	_, rest, ok := strings.Cut(line, "*** [")
	return ok && (strings.Contains(rest, "] Error ") || strings.Contains(rest, "] Killed") || strings.Contains(rest, "] Terminated"))
}

// isStated recognizes what a package's makefile or script says before it gives
// up, and what make says, after three stars, about a makefile that it cannot
// use.
func isStated(line string) bool {
	_, rest, ok := strings.Cut(line, "***")
	return ok && strings.Trim(rest, "* \t.-=!") != "" && !isMakeFailure(line)
}
