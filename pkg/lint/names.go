package lint

import (
	"regexp"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/system"
)

// assignment is a line that sets a variable.
type assignment struct {
	line        int
	name, index string
}

var assignmentLine = system.Pattern(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)(?:\[([^]]*)\])?\+?=`)

// assignments returns the lines of a shell script that begin with an assignment
// to a variable.
func assignments(text string) []assignment {
	var list []assignment
	n := 0
	for line := range strings.Lines(text) {
		n++
		if m := assignmentLine().FindStringSubmatch(line); m != nil {
			list = append(list, assignment{n, m[1], m[2]})
		}
	}
	return list
}

// assigned returns the first line that sets a variable, or 0.
func (l *linter) assigned(name string) int {
	for _, a := range l.assigns {
		if a.name == name {
			return a.line
		}
	}
	return 0
}

// sets reports whether the configuration sets a variable.
func (l *linter) sets(name string) bool { return l.assigned(name) > 0 }

// assignedAt returns the last line that sets one element, or else the variable.
func (l *linter) assignedAt(name, index string) int {
	for _, a := range slices.Backward(l.assigns) {
		if a.name == name && (a.index == index || a.index == "" && index == "0") {
			return a.line
		}
	}
	return l.assigned(name)
}

var nameAhead = system.Pattern(`^([A-Za-z_][A-Za-z0-9_]*)(?:\[([0-9]+)\])?`)

// lineOf returns the line that sets the name at the beginning of text, or 0.
func (l *linter) lineOf(text string) int {
	m := nameAhead().FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	if m[2] == "" {
		return l.assigned(m[1])
	}
	return l.assignedAt(m[1], m[2])
}

// families are the prefixes of the names of directives.
var families = []string{"PACKAGE_", "BUILT_", "DEST_", "BUILD_", "MAKE_", "PATCH_", "PRE_", "POST_", "MODULES_CONF", "AUTOINSTALL", "NO_WEAK"}

// names looks for misspelt directives.
func (l *linter) names() {
	known := conf.DirectiveNames()
	for _, a := range l.assigns {
		upper := strings.ToUpper(a.name)
		switch {
		case slices.Contains(known, a.name) || l.used(a.name) || strings.HasPrefix(a.name, "DKMS_DIRECTIVE"):
		case a.name != upper:
			if slices.Contains(known, upper) && strings.Contains(upper, "_") {
				l.errorf(a.line, "%s is no directive: their names are in capitals", a.name)
			}
		case closest(a.name, known) != "":
			l.errorf(a.line, "%s is no directive; is %s meant?", a.name, closest(a.name, known))
		case slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(a.name, f) }):
			l.warnf(a.line, "%s is no directive", a.name)
		}
	}
}

// used reports whether the author uses a variable: something refers to it.
func (l *linter) used(name string) bool {
	return regexp.MustCompile(`\$\{?[#!]?` + regexp.QuoteMeta(name) + `\b`).MatchString(l.text)
}

// closest returns the known name that a misspelt one stands for, or "".
func closest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if len(k) < 5 || len(name) < 5 {
			continue
		}
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
