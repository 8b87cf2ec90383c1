package conf

import (
	"bytes"
	"strings"
)

// assignment is one NAME=VALUE of a file of only assignments. A raw value is
// one assignment for certain, but what it assigns only a shell can say.
type assignment struct {
	name, value string
	raw         bool
}

// literals parses a file that contains nothing but comments, blank lines and
// assignments, one on each line. It reports whether the file is of that kind;
// when in doubt it is not.
func literals(text []byte) ([]assignment, bool) {
	var list []assignment
	for line := range bytes.Lines(text) {
		a, ok := literalLine(strings.TrimSuffix(string(line), "\n"))
		if !ok {
			return nil, false
		}
		if a.name != "" {
			list = append(list, a)
		}
	}
	return list, true
}

func literalLine(line string) (assignment, bool) {
	line = strings.TrimLeft(line, " \t")
	if line == "" || line == "\r" || line[0] == '#' {
		return assignment{}, true
	}
	name, rest, ok := strings.Cut(line, "=")
	if !ok || !ordinaryName(name) {
		return assignment{}, false
	}
	a, rest, ok := literalValue(rest)
	a.name = name
	return a, ok && blankEnd(rest)
}

// ordinaryName reports whether name is a variable that means nothing to bash:
// its own ones are in capitals, but for histchars.
func ordinaryName(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && name != "_" && name != "histchars" && name != "auto_resume" && !strings.HasPrefix(name, "__")
}

// blankEnd reports whether what follows a value is nothing, a carriage return
// or a comment.
func blankEnd(rest string) bool {
	if rest == "" || rest == "\r" {
		return true
	}
	trimmed := strings.TrimLeft(rest, " \t")
	return trimmed == "" || len(trimmed) < len(rest) && trimmed[0] == '#'
}

// literalValue takes the value at the beginning of s.
func literalValue(s string) (a assignment, rest string, ok bool) {
	if s == "" {
		return a, "", true
	}
	if quote := s[0]; quote == '"' || quote == '\'' {
		value, rest, ok := strings.Cut(s[1:], string(quote))
		a.value = value
		a.raw = !literalWords(value)
		return a, rest, ok && (!a.raw || quote == '\'' || expansions(value))
	}
	end := strings.IndexAny(s, " \t\r")
	if end < 0 {
		end = len(s)
	}
	a.value, rest = s[:end], s[end:]
	a.raw = !literalWords(a.value)
	return a, rest, !a.raw || expansions(a.value) && !strings.ContainsAny(a.value, `'()&|;<>#`)
}

// literalWords reports whether s is words with single blanks between them
// that stay the same through any number of evaluations.
func literalWords(s string) bool {
	if s == "" {
		return true
	}
	for word := range strings.SplitSeq(s, " ") {
		if word == "" {
			return false
		}
		for _, c := range []byte(word) {
			if !isLiteral(c) {
				return false
			}
		}
	}
	return true
}

// expansions reports whether all that a shell could find in s, which stands
// between double quotes, are variables: $name and ${name}, and commands in
// $( ) of such plain words that they end where they seem to.
func expansions(s string) bool {
	if strings.ContainsAny(s, "\"`\\\x00") {
		return false
	}
	for {
		_, after, ok := strings.Cut(s, "$")
		if !ok {
			return true
		}
		s = after
		switch {
		case strings.HasPrefix(s, "{"):
			name, rest, ok := strings.Cut(s[1:], "}")
			if !ok || !isName(name) {
				return false
			}
			s = rest
		case strings.HasPrefix(s, "("):
			command, rest, ok := strings.Cut(s[1:], ")")
			if !ok || !plainCommand(command) {
				return false
			}
			s = rest
		case strings.HasPrefix(s, "["):
			return false
		}
	}
}

// isName reports whether s can be the name of a variable.
func isName(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func plainCommand(s string) bool {
	if s == "" || strings.HasPrefix(strings.TrimLeft(s, " "), "case") {
		return false
	}
	for _, c := range []byte(s) {
		if !isLiteral(c) && c != ' ' && c != '$' && c != '|' {
			return false
		}
	}
	return true
}
