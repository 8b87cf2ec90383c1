package report

import (
	"bytes"
	"io"
	"os"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// Terminal reports whether f is a terminal on which a line can be overwritten.
// The terminals that dpkg and Portage give to the scripts of packages are not:
// both log everything that is written there.
func Terminal(env map[string]string, f *os.File) bool {
	logged := env["DPKG_MAINTSCRIPT_PACKAGE"] != "" || env["EBUILD_PHASE"] != ""
	if f == nil || logged || env["TERM"] == "" || env["TERM"] == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Size returns the size of the terminal f.
func Size(f *os.File) (columns, rows int) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return defaultColumns, defaultRows
	}
	return int(size.Col), int(size.Row)
}

const defaultColumns, defaultRows = 80, 24

// cut returns the beginning of s that fits into the given number of columns.
func cut(s string, columns int) string {
	for i, r := range s {
		if columns -= columnsOf(r); columns < 0 {
			return s[:i]
		}
	}
	return s
}

// columnsOf returns how many columns a character takes. It returns two where
// the width depends on the terminal: wide scripts begin with the Hangul
// letters.
func columnsOf(r rune) int {
	if r >= 0x1100 && unicode.IsOneOf([]*unicode.RangeTable{unicode.L, unicode.So}, r) || r >= 0x1f000 {
		return 2
	}
	return 1
}

// maxTail is how much of the end of a log is searched for its last line.
const maxTail = 4096

// lastLine returns the last line with text of a log that was written to after
// since. An older log belongs to an earlier build: log names are reused.
func lastLine(path string, since time.Time) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.ModTime().Before(since.Truncate(time.Second)) {
		return ""
	}
	tail, err := io.ReadAll(io.NewSectionReader(f, max(st.Size()-maxTail, 0), maxTail))
	if err != nil {
		return ""
	}
	tail = bytes.TrimRight(tail, " \t\r\n")
	return printable(string(tail[bytes.LastIndexAny(tail, "\r\n")+1:]))
}
