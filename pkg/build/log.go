package build

import (
	"errors"
	"fmt"
	"io"
	"os"
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
