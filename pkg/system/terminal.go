package system

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// IsTerminal tells whether r is a terminal, so that a person can be asked.
func IsTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok || f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
