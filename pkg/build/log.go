package build

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

// buildLog is the make.log of one build: a block for each step, in the form
// that DKMS has and that bug reporting tools read.
type buildLog struct {
	file *os.File
	now  func() time.Time
}

// openLog appends to path: a make.log that came with the sources stays, as it
// does in the original, unless it is none, but leads to another file.
func openLog(path, title string, now func() time.Time) (*buildLog, error) {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(f, "%s\n%s\n", title, now().Format(time.UnixDate))
	return &buildLog{f, now}, nil
}

func (l *buildLog) Close() error { return l.file.Close() }

const ruler = "----------------------------------------------------------------"

// step runs do between the header and the footer of a block. command is what
// the header shows; do writes to the log.
func (l *buildLog) step(what, command string, do func(io.Writer) error) error {
	start := l.now()
	fmt.Fprintf(l.file, "\n%s\n# command: %s\n", what, command)
	err := do(l.file)
	status := 0
	var exitErr *system.ExitError
	switch {
	case errors.As(err, &exitErr):
		status = exitErr.Status
	case err != nil:
		status = 1
		fmt.Fprintln(l.file, err)
	}
	d := l.now().Sub(start).Round(time.Second)
	fmt.Fprintf(l.file, "\n# exit code: %d\n# elapsed time: %02d:%02d:%02d\n%s\n",
		status, int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, ruler)
	return err
}

// maxFirstError bounds what is quoted of a log, in lines and bytes.
const (
	errorContext  = 3
	maxLogLine    = 300
	maxLogScanned = 64 << 20
)

// FirstError finds the first line of a build log that says what went wrong,
// with the lines that belong to it. It returns nil where none is recognised.
func FirstError(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	scan := bufio.NewScanner(io.LimitReader(f, maxLogScanned))
	scan.Buffer(make([]byte, 64<<10), 1<<20)
	var found, refused, fallback []string
	for scan.Scan() {
		line := scan.Text()
		line = strings.ToValidUTF8(line[:min(len(line), maxLogLine)], "")
		switch {
		case len(found) > 0:
			if len(found) > errorContext || !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
				return found
			}
			found = append(found, line)
		case Harmless(line) != "":
		case isCompilerError(line):
			found = []string{line}
		case refused == nil && isRefusal(line):
			refused = []string{line}
		case fallback == nil && isMakeError(line):
			fallback = []string{line}
		}
	}
	switch {
	case found != nil:
		return found
	case refused != nil:
		return refused
	}
	return fallback
}

// isRefusal knows what programs say when they may not do something. Other
// errors say more, if there are any.
func isRefusal(line string) bool {
	for _, m := range marks {
		if (m.class == sandbox || m.class == limit) && !strings.HasPrefix(line, "#") &&
			slices.ContainsFunc(m.texts, func(text string) bool { return strings.Contains(line, text) }) {
			return true
		}
	}
	return false
}

var errorMarks = []string{
	": error: ", ": fatal error: ", "ERROR: modpost:", "FATAL: modpost:", ".ko] undefined!",
	": undefined reference to ", "ld: cannot find ", ": syntax error", ": Syntax error", ": command not found", ": not found",
	"No space left on device", "hunk FAILED", "hunks FAILED", "patch: ****", "can't find file to patch",
	"Killed signal terminated program",
}

// isCompilerError knows the words of gcc, clang, ld, modpost, patch, the
// shells and the preprocessor.
func isCompilerError(line string) bool {
	for _, mark := range errorMarks {
		if strings.Contains(line, mark) {
			return !strings.HasPrefix(line, "#")
		}
	}
	return false
}

func isMakeError(line string) bool {
	_, rest, ok := strings.Cut(line, "*** ")
	return ok && rest != "" && (strings.HasPrefix(line, "make") || strings.Contains(line, "akefile"))
}
