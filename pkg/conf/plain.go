package conf

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// plainFile evaluates a file that holds only comments, blank lines and
// assignments of plain words, one on each line. The words may refer to
// variables whose values are known to be plain words. Two evaluations by bash
// give the same result and take a thousand times as long.
type plainFile struct {
	names  []string
	vars   map[string]string
	values values            // the variables that are read, after the second evaluation
	local  map[string]string // what the file has set, as the first evaluation leaves it
}

// plain evaluates text, starting from the values old. It reports whether that
// is possible without bash, and answers no when in doubt.
func plain(text []byte, names []string, vars map[string]string, old values) (values, bool) {
	for name := range vars {
		if isDirectiveName(name) {
			return nil, false
		}
	}
	// A reference to a variable includes the carriage return of its value.
	if bytes.IndexByte(text, '\r') >= 0 && bytes.IndexByte(text, '$') >= 0 {
		return nil, false
	}
	p := plainFile{names, vars, values{}, map[string]string{}}
	for name, array := range old {
		p.values[name] = maps.Clone(array)
	}
	for line := range bytes.Lines(text) {
		if !p.line(strings.TrimSuffix(string(line), "\n")) {
			return nil, false
		}
	}
	return p.values, true
}

func (p *plainFile) line(line string) bool {
	line = strings.TrimLeft(line, " \t")
	if line == "" || line == "\r" || line[0] == '#' {
		return true
	}
	target, rest, ok := strings.Cut(line, "=")
	if !ok {
		return false
	}
	name, index, ok := p.target(target)
	if !ok {
		return false
	}
	value, rest, ok := p.value(rest)
	if !ok || !blankEnd(rest) {
		return false
	}
	if index == 0 {
		p.local[name] = value
	}
	if slices.Contains(p.names, name) {
		if p.values[name] == nil {
			p.values[name] = Array{}
		}
		p.values[name][index] = strings.Join(strings.Fields(value), " ")
	}
	return true
}

// target parses NAME or NAME[INDEX]. It accepts only variables to which bash
// gives no meaning.
func (p *plainFile) target(s string) (name string, index int, ok bool) {
	name, rest, indexed := strings.Cut(s, "[")
	if indexed {
		digits, closed := strings.CutSuffix(rest, "]")
		n, err := strconv.Atoi(digits)
		if !closed || err != nil || n < 0 || strconv.Itoa(n) != digits || len(digits) > 5 {
			return "", 0, false
		}
		index = n
	}
	return name, index, slices.Contains(p.names, name) || !indexed && ordinaryName(name)
}

// value parses the value at the beginning of s.
func (p *plainFile) value(s string) (value, rest string, ok bool) {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		text, rest, ok := strings.Cut(s[1:], s[:1])
		if ok && s[0] == '"' {
			if ok = escapesNothing(text); ok {
				text, ok = p.expand(text, isPattern)
			}
		}
		return text, rest, ok && (isAll(text, isPlain) || isPatternWord(text))
	}
	end := strings.IndexAny(s, " \t\r")
	if end < 0 {
		end = len(s)
	}
	value, ok = p.expand(s[:end], isLiteral)
	return value, s[end:], ok
}

// expand replaces $name and ${name} by the values of the variables. All other
// characters of s must be allowed ones.
func (p *plainFile) expand(s string, allowed func(byte) bool) (string, bool) {
	var b strings.Builder
	for s != "" {
		before, after, found := strings.Cut(s, "$")
		if !isAll(before, allowed) {
			return "", false
		}
		b.WriteString(before)
		if !found {
			break
		}
		name, rest := variable(after)
		if name == "" && endsPattern(after) {
			b.WriteByte('$')
			s = after
			continue
		}
		value, known := p.lookup(name)
		if !known || !isAll(value, isPlain) {
			return "", false
		}
		b.WriteString(value)
		s = rest
	}
	return b.String(), true
}

// variable splits the name of a variable off the text behind a dollar sign.
// name is empty where no variable follows.
func variable(s string) (name, rest string) {
	if inner, ok := strings.CutPrefix(s, "{"); ok {
		name, rest, ok = strings.Cut(inner, "}")
		if !ok || !isName(name) {
			return "", s
		}
		return name, rest
	}
	n := 0
	for n < len(s) && isName(s[:n+1]) {
		n++
	}
	return s[:n], s[n:]
}

// lookup returns the value of a variable that this evaluation has set or was
// given.
func (p *plainFile) lookup(name string) (string, bool) {
	if v, ok := p.local[name]; ok {
		return v, true
	}
	if slices.Contains(p.names, name) {
		v, ok := p.values[name][0]
		return v, ok
	}
	v, ok := p.vars[name]
	return v, ok
}

func isAll(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

// isPlain reports whether c is a blank, or a character that the shell takes
// literally between double quotes and in names of files.
func isPlain(c byte) bool { return isLiteral(c) || strings.IndexByte(" \t'^;&|#~{}<>", c) >= 0 }

// isPattern reports whether isPlain holds for c, or c has a meaning in patterns
// for names of files only.
func isPattern(c byte) bool { return isPlain(c) || strings.IndexByte(`()[]*?!\`, c) >= 0 }

// isPatternWord reports whether s is a single word, such as a regular
// expression, that both evaluations leave as it is. Names of files are not
// looked up for a single word.
func isPatternWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == ' ' || c == '\t' || !isPattern(c) && (c != '$' || !endsPattern(s[i+1:])) {
			return false
		}
	}
	return escapesNothing(s)
}

// escapesNothing reports whether every backslash of s, which stands between
// double quotes, stands for itself.
func escapesNothing(s string) bool {
	for {
		_, after, found := strings.Cut(s, `\`)
		if !found {
			return true
		}
		if after == "" || strings.IndexByte("\\\"$`", after[0]) >= 0 {
			return false
		}
		s = after
	}
}

// endsPattern reports whether a dollar sign before s stands for itself, as the
// end of what a regular expression matches.
func endsPattern(s string) bool { return s == "" || s[0] == ')' || s[0] == '|' }
