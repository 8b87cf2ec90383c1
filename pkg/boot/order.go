package boot

import (
	"cmp"
	"slices"
	"strings"
)

// sortedForGrub sorts entries into the order of GRUB's blscfg: by file name,
// split at the last two dashes, the highest first.
func sortedForGrub(list []entry) []entry {
	slices.SortStableFunc(list, func(a, b entry) int {
		return compareParts(strings.TrimSuffix(b.id, ".conf"), strings.TrimSuffix(a.id, ".conf"))
	})
	return list
}

func compareParts(a, b string) int {
	an, av, ar := nameVersionRelease(a)
	bn, bv, br := nameVersionRelease(b)
	return cmp.Or(compareRPM(an, bn), compareRPM(av, bv), compareRPM(ar, br))
}

func nameVersionRelease(s string) (name, version, release string) {
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		s, release = s[:i], s[i+1:]
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		s, version = s[:i], s[i+1:]
	}
	return s, version, release
}

// compareRPM compares as rpm does: runs of digits by value, runs of letters
// alphabetically, digits after letters, a tilde before everything; all other
// characters only separate.
func compareRPM(a, b string) int {
	separator := func(r rune) bool { return r != '~' && !isDigit(byte(r)) && !isAlpha(byte(r)) }
	for a != "" || b != "" {
		a, b = strings.TrimLeftFunc(a, separator), strings.TrimLeftFunc(b, separator)
		at, bt := strings.HasPrefix(a, "~"), strings.HasPrefix(b, "~")
		switch {
		case at && bt:
			a, b = a[1:], b[1:]
			continue
		case at:
			return -1
		case bt:
			return 1
		case a == "" || b == "":
			return cmp.Compare(len(a), len(b))
		}
		var x, y string
		kind := isAlpha
		if isDigit(a[0]) {
			kind = isDigit
		}
		x, a = cutRun(a, kind)
		y, b = cutRun(b, kind)
		switch {
		case y == "" && kind('0'): // digits are newer than letters
			return 1
		case y == "":
			return -1
		case kind('0'):
			if c := compareDigits(x, y); c != 0 {
				return c
			}
		case x != y:
			return strings.Compare(x, y)
		}
	}
	return 0
}

// sortedForSystemd sorts entries into systemd-boot's order (systemd-boot(7),
// UAPI.1 "Sorting"): entries without any tries left come last; entries with a
// sort key come first, by sort key, machine and, in descending order, version;
// then file names decide, in descending order; then the number of tries left.
func sortedForSystemd(list []entry) []entry {
	slices.SortStableFunc(list, func(a, b entry) int {
		c := cmp.Or(compareBool(a.left == 0, b.left == 0), compareBool(a.sortKey == "", b.sortKey == ""))
		if c == 0 && a.sortKey != "" {
			c = cmp.Or(strings.Compare(a.sortKey, b.sortKey), strings.Compare(a.machine, b.machine), compareSystemd(b.version, a.version))
		}
		return cmp.Or(c, compareSystemd(b.id, a.id), compareTries(a, b))
	})
	return list
}

// compareTries sorts entries with more tries left first, and then those with
// fewer tries done. Where either entry has no boot counter, the counters decide
// nothing.
func compareTries(a, b entry) int {
	if a.left < 0 || b.left < 0 {
		return 0
	}
	return cmp.Or(cmp.Compare(b.left, a.left), cmp.Compare(a.done, b.done))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// compareSystemd compares versions by the rules of UAPI.10, as systemd does.
func compareSystemd(a, b string) int {
	ignored := func(r rune) bool {
		return !(isDigit(byte(r)) || isAlpha(byte(r)) || strings.ContainsRune("~-^.", r))
	}
	for {
		a, b = strings.TrimLeftFunc(a, ignored), strings.TrimLeftFunc(b, ignored)
		if c := compareMark(&a, &b, '~'); c != 0 {
			return c
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		for _, mark := range []byte("-^.") {
			if c := compareMark(&a, &b, mark); c != 0 {
				return c
			}
		}
		if c := compareRun(&a, &b); c != 0 {
			return c
		}
	}
}

// compareMark compares by a mark at the beginning: a version with the mark is
// older than one without.
func compareMark(a, b *string, mark byte) int {
	am, bm := strings.HasPrefix(*a, string(mark)), strings.HasPrefix(*b, string(mark))
	if am && bm {
		*a, *b = (*a)[1:], (*b)[1:]
	}
	return compareBool(bm, am)
}

// compareRun compares runs of digits, where either side begins with a digit, or
// else runs of letters; capital letters are older than small letters.
func compareRun(a, b *string) int {
	kind := isAlpha
	if startsWithDigit(*a) || startsWithDigit(*b) {
		kind = isDigit
	}
	var x, y string
	x, *a = cutRun(*a, kind)
	y, *b = cutRun(*b, kind)
	if kind('0') {
		if (x == "") != (y == "") { // a number is newer than no number
			return cmp.Compare(len(x), len(y))
		}
		return compareDigits(x, y)
	}
	return strings.Compare(x, y)
}

func startsWithDigit(s string) bool { return s != "" && isDigit(s[0]) }

func cutRun(s string, kind func(byte) bool) (run, rest string) {
	i := 0
	for i < len(s) && kind(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// compareDigits compares numbers of any length.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
