package report

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns a writer to w for everything that a person sees. Output may
// quote a log, a dkms.conf or a file name, whose content the author of the
// sources controls, so the writer removes everything that a terminal would
// obey. The bytes of one character may come in several writes.
func Clean(w io.Writer) io.Writer {
	if clean, ok := w.(*cleaner); ok {
		return clean
	}
	return &cleaner{w: w}
}

type cleaner struct {
	w    io.Writer
	rest []byte // an incomplete character
}

// Write implements [io.Writer].
func (c *cleaner) Write(p []byte) (int, error) {
	text := append(c.rest, p...)
	whole := len(text) - unfinished(text)
	c.rest = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(c.w, harmless(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// unfinished returns how many bytes at the end of text belong to an incomplete
// character.
func unfinished(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if b := text[len(text)-n:]; utf8.RuneStart(b[0]) {
			if utf8.FullRune(b) {
				return 0
			}
			return n
		}
	}
	return 0
}

// harmless removes from lines everything that a terminal would obey and
// everything that changes the order in which text is shown. Bytes that are not
// valid characters become the replacement character, because some terminals
// obey 0x9b.
func harmless(lines string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.In(r, unicode.Cc, unicode.Bidi_Control) {
			return r
		}
		return -1
	}, lines)
}

// printable returns s as one harmless line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(s)
}
