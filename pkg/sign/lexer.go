package sign

import (
	"errors"
	"fmt"
	"strings"
)

// lexer splits settings into words as Portage does: with the rules of Python's
// shlex in POSIX mode, and Portage's set of word characters. Every other
// character, such as = and &, is a word by itself.
type lexer struct {
	// stack holds the current file on top of the files that source it.
	stack []*input
	// include loads the file of a source statement; nil disables such
	// statements.
	include func(name, from string) (path, text string, err error)
}

type input struct {
	path string
	text []rune
	pos  int
	line int
	last int // the first line of the last word
}

func newLexer(text, path string, include func(name, from string) (string, string, error)) *lexer {
	l := &lexer{include: include}
	l.push(path, text)
	return l
}

func (l *lexer) push(path, text string) {
	l.stack = append(l.stack, &input{path: path, text: []rune(text), line: 1, last: 1})
}

func (l *lexer) top() *input { return l.stack[len(l.stack)-1] }

// where is the position of the last word, for messages.
func (l *lexer) where() string { return fmt.Sprintf("%s:%d", l.top().path, l.top().last) }

// assignment is NAME = VALUE, in three words on any number of lines.
type assignment struct{ name, value string }

// assignment returns the next assignment; ok is false at the end.
func (l *lexer) assignment() (a assignment, ok bool, err error) {
	var words [3]string
	for i := 0; i < len(words); i++ {
		word, more, err := l.word()
		switch {
		case err != nil:
			return a, false, err
		case !more && i == 0:
			return a, false, nil
		case !more:
			return a, false, fmt.Errorf("%s: end of file in the assignment of %s", l.where(), words[0])
		case i == 0 && word == "export":
			if word, more, err = l.word(); !more || err != nil {
				return a, false, err
			}
		case i == 1 && word != "=":
			return a, false, fmt.Errorf("%s: %q after %s; want =", l.where(), word, words[0])
		}
		words[i] = word
	}
	return assignment{words[0], words[2]}, true, nil
}

// word returns the next word. It follows source statements, which may appear
// anywhere; more is false at the end of the outermost file.
func (l *lexer) word() (word string, more bool, err error) {
	for {
		word, more, err = l.read()
		switch {
		case err != nil:
			return "", false, err
		case !more && len(l.stack) > 1:
			l.stack = l.stack[:len(l.stack)-1]
			continue
		case more && word == "source" && l.include != nil:
			if err := l.source(); err != nil {
				return "", false, err
			}
			continue
		}
		return word, more, nil
	}
}

func (l *lexer) source() error {
	name, more, err := l.read()
	switch {
	case err != nil:
		return err
	case !more:
		return fmt.Errorf("%s: source: no file given", l.where())
	case len(l.stack) > maxDepth:
		return fmt.Errorf("%s: source: more than %d files deep", l.where(), maxDepth)
	}
	path, text, err := l.include(name, l.top().path)
	if err != nil {
		return fmt.Errorf("%s: %w", l.where(), err)
	}
	l.push(path, text)
	return nil
}

// read returns the next word of the file on top.
func (l *lexer) read() (word string, more bool, err error) {
	word, more, err = l.top().word()
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", l.where(), err)
	}
	return word, more, nil
}

func (in *input) next() (r rune, ok bool) {
	if in.pos == len(in.text) {
		return 0, false
	}
	r = in.text[in.pos]
	in.pos++
	if r == '\n' {
		in.line++
	}
	return r, true
}

func (in *input) skipComment() {
	for {
		if r, ok := in.next(); !ok || r == '\n' {
			return
		}
	}
}

// word reads one word. Only quotes make an empty word.
func (in *input) word() (string, bool, error) {
	var b strings.Builder
	begun := false
	for {
		line := in.line
		r, ok := in.next()
		if ok && !begun && !isBlank(r) && r != '#' {
			in.last = line
		}
		switch {
		case !ok:
			return b.String(), begun, nil
		case isBlank(r) || r == '#':
			if r == '#' {
				in.skipComment()
			}
			if begun {
				return b.String(), true, nil
			}
		case r == '\\':
			if r, ok = in.next(); !ok {
				return "", false, errors.New("nothing after the backslash")
			}
			b.WriteRune(r)
			begun = true
		case r == '"' || r == '\'':
			if err := in.quoted(&b, r); err != nil {
				return "", false, err
			}
			begun = true
		case isWordRune(r):
			b.WriteRune(r)
			begun = true
		case begun:
			in.pos-- // r is not a newline, so the line number stays
			return b.String(), true, nil
		default:
			return string(r), true, nil
		}
	}
}

// quoted reads up to the closing quote. Between double quotes, a backslash is
// removed before a backslash or quote, and kept before other characters.
func (in *input) quoted(b *strings.Builder, quote rune) error {
	for {
		r, ok := in.next()
		switch {
		case !ok:
			return errors.New("no closing quote")
		case r == quote:
			return nil
		case r == '\\' && quote == '"':
			if r, ok = in.next(); !ok {
				return errors.New("nothing after the backslash")
			}
			if r != '\\' && r != '"' {
				b.WriteByte('\\')
			}
		}
		b.WriteRune(r)
	}
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

func isWordRune(r rune) bool {
	return r < 0x80 && (isAlnum(byte(r)) || strings.ContainsRune(`~!@#$%*_\:;?,./-+{}`, r))
}
