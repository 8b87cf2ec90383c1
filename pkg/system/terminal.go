package system

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// IsTerminal reports whether a person can be asked through r.
func IsTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok || f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
