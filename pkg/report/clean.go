package report

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns a writer to w for everything that a person sees: it takes out
// what a terminal would obey. What is written may quote a log, a dkms.conf or
// the name of a file, and what those hold is up to whoever made the sources. The
// bytes of a character may come in several writes.
func Clean(w io.Writer) io.Writer {
	if clean, ok := w.(*cleaner); ok {
		return clean
	}
	return &cleaner{w: w}
}

type cleaner struct {
	w    io.Writer
	rest []byte // the beginning of a character
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

// unfinished is how many bytes at the end of text are the beginning of a
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

// harmless takes out of lines what a terminal would obey, or what shows text in
// another order than it is in. Bytes that are no characters are shown as such:
// some terminals obey 0x9b.
func harmless(lines string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.In(r, unicode.Cc, unicode.Bidi_Control) {
			return r
		}
		return -1
	}, lines)
}

// printable makes one line of s, as harmless.
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
