package conf

import (
	"bytes"
	"strings"
)

// assignment is one NAME=VALUE of a file that holds only assignments. A raw
// value is certainly one assignment, but only a shell can evaluate it.
type assignment struct {
	name, value string
	raw         bool
}

// literals parses a file that contains only comments, blank lines and
// assignments, one on each line. It reports whether the file is of that kind,
// and answers no when in doubt.
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

// ordinaryName reports whether bash gives the variable name no meaning: the
// names of bash's own variables are in capitals, except histchars.
func ordinaryName(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && name != "_" && name != "histchars" && name != "auto_resume" && !strings.HasPrefix(name, "__")
}

// blankEnd reports whether only blanks, a carriage return or a comment follow a
// value.
func blankEnd(rest string) bool {
	if rest == "" || rest == "\r" {
		return true
	}
	trimmed := strings.TrimLeft(rest, " \t")
	return trimmed == "" || len(trimmed) < len(rest) && trimmed[0] == '#'
}

// literalValue parses the value at the beginning of s.
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

// literalWords reports whether s consists of words with single blanks between
// them, and any number of evaluations leaves s unchanged.
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

// expansions reports whether a shell finds only simple expansions in s, which
// stands between double quotes: $name, ${name}, and $( ) around commands of
// such plain words that the end of the command is certain.
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
