// Package version compares the names and version strings of modules and kernels.
//
// It guarantees the two orders that the state tree depends on: the key order
// of DKMS, corrected for numbers of more than three digits, and the order of
// GNU sort -V.
package version

import "strings"

// Compare orders two module versions or kernel releases: negative when a is
// older than b, zero when they are equal, positive when a is newer.
//
// Runs of digits compare as numbers of any length, everything else compares
// byte by byte, and blanks do not count. The original pads numbers to three
// digits and uses the locale's collation, which puts 3.10.0-1160 before
// 3.10.0-957; for numbers below 1000 in the C locale both orders are the same.
func Compare(a, b string) int {
	a, b = stripBlanks(a), stripBlanks(b)
	for a != "" && b != "" {
		if isDigit(a[0]) && isDigit(b[0]) {
			var na, nb string
			na, a = cutDigits(a)
			nb, b = cutDigits(b)
			if c := compareNumbers(na, nb); c != 0 {
				return c
			}
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func stripBlanks(s string) string { return strings.ReplaceAll(s, " ", "") }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func cutDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// compareNumbers compares decimal numbers of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// Natural orders strings as GNU sort -V does (coreutils, "Version sort
// ordering"), except for names that begin with a dot, which do not occur here.
func Natural(a, b string) int {
	if a == b {
		return 0
	}
	if c := natural(trimSuffix(a), trimSuffix(b)); c != 0 {
		return c
	}
	if c := natural(a, b); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// trimSuffix removes what matches (\.[A-Za-z~][A-Za-z0-9~]*)*$, which version
// sort omits from its first comparison.
func trimSuffix(s string) string {
	end := len(s)
	for i := len(s) - 1; i > 0; i-- {
		switch c := s[i]; {
		case c == '.':
			if i+1 < end && (isAlpha(s[i+1]) || s[i+1] == '~') {
				end = i
				continue
			}
			return s[:end]
		case !isAlpha(c) && !isDigit(c) && c != '~':
			return s[:end]
		}
	}
	return s[:end]
}

// natural compares whole strings by Debian Policy 5.6.12, as sort -V uses it:
// non-digits by class, digits by value.
func natural(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := classAt(a) - classAt(b); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var na, nb string
		na, a = cutDigits(a)
		nb, b = cutDigits(b)
		if c := compareNumbers(na, nb); c != 0 {
			return c
		}
	}
	return 0
}

// classAt ranks the first byte of s: tilde, then the end or a digit, then
// letters, then everything else.
func classAt(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isAlpha(s[0]):
		return int(s[0])
	default:
		return int(s[0]) + 256
	}
}
