package version

import "strings"

// Nearest returns the candidate that a person who typed given most likely
// means, or "" where none is near. A candidate is near if it differs only in
// case or in - and _; or if it begins with given, as 6.12.95+deb12-amd64 does
// with 6.12.95; or if a few changed letters turn given into it. Of several
// equally near candidates Nearest returns the newest and, of those, the
// shortest.
func Nearest(given string, candidates []string) string {
	best, least := "", 0
	for _, c := range candidates {
		d := distance(fold(given), fold(c))
		switch {
		case given == "" || c == "":
			continue
		case begins(c, given):
			d = min(d, 1)
		case d > max(1, min(len(given), len(c))/3):
			continue
		}
		if best == "" || d < least || d == least && likelier(c, best) {
			best, least = c, d
		}
	}
	return best
}

func likelier(a, b string) bool {
	if c := Natural(number(a), number(b)); c != 0 {
		return c > 0
	}
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return Natural(a, b) > 0
}

// number returns the part of a release or version before its flavour.
func number(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789."))]
}

func fold(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "-")) }

// begins reports whether prefix is a complete part of s: 6.12 begins 6.12.9 but
// not 6.121.
func begins(s, prefix string) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || rest == "" {
		return false
	}
	next, last := rest[0], prefix[len(prefix)-1]
	return !(isDigit(next) && isDigit(last) || isAlpha(next) && isAlpha(last))
}

// distance counts the letters to insert, delete, replace, or swap with the next
// one to turn a into b. It changes each stretch at most once (optimal string
// alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
