package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

// buildLog is the make.log of one build: a block for each step, in the format
// of DKMS, which bug reporting tools read.
type buildLog struct {
	file *os.File
	now  func() time.Time
}

// openLog appends to path. A make.log that came with the sources stays, as in
// the original, unless it is a link to another file.
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
	// Whoever follows the log sees by the lock that the build is under way. A
	// file system without locks makes nothing worse than that.
	unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	fmt.Fprintf(f, "%s\n%s\n", title, now().Format(time.UnixDate))
	return &buildLog{f, now}, nil
}

// Close ends the lock by itself, because a process that the build has left may
// have the file open.
func (l *buildLog) Close() error {
	unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
	return l.file.Close()
}

const ruler = "----------------------------------------------------------------"

// step runs do between the header and the footer of a block. The header shows
// command; do writes to the log.
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

// These constants bound how much of a log is read.
const (
	// MaxLog is how many bytes of a log are kept or shown: of a longer log, the
	// beginning and the end.
	MaxLog = 64 << 20
	// maxLine is how many bytes of a line are shown.
	maxLine = 64 << 10
)

// cutLog shortens a log that is longer than MaxLog.
func cutLog(ctx context.Context, path string) error {
	f, st, err := system.OpenPlain(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if st.Size() <= MaxLog {
		return nil
	}
	r, length := system.Cut(f, st.Size(), MaxLog)
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return system.WriteFile(path, data, 0o644)
}

// Lines reads the lines of a log. It cuts lines that are too long, and leaves
// out the middle of a log that is too long. If an error ends the reading, the
// last pair has that error.
func Lines(ctx context.Context, path string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		f, st, err := system.OpenPlain(path)
		if err != nil {
			yield("", err)
			return
		}
		defer f.Close()
		in, _ := system.Cut(f, st.Size(), MaxLog)
		for r := bufio.NewReaderSize(in, maxLine); ; {
			line, err := readLine(r)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if errors.Is(err, io.EOF) {
				if line != "" {
					yield(line, nil)
				}
				return
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// Tail reads the lines of a log that is still written. It cuts lines that are
// too long.
type Tail struct {
	in   *bufio.Reader
	part []byte
}

// NewTail returns a reader of the log f.
func NewTail(f io.Reader) *Tail { return &Tail{in: bufio.NewReader(f)} }

// Line returns the next line, or [io.EOF] where the log has no whole line more
// for now.
func (t *Tail) Line() (string, error) {
	for {
		piece, err := t.in.ReadSlice('\n')
		t.part = append(t.part, piece[:min(len(piece), maxLine-len(t.part))]...)
		switch {
		case err == nil:
			return strings.TrimSuffix(t.Rest(), "\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// Rest returns the end of the log that is no whole line.
func (t *Tail) Rest() string {
	text := string(t.part)
	t.part = t.part[:0]
	return text
}

// readLine reads a line and drops the part that does not fit into the buffer of
// r.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	text := strings.TrimSuffix(string(line), "\n")
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	return text, err
}
