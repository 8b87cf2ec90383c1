package lint

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"dkms/pkg/conf"
)

// assignment is a line that sets a variable.
type assignment struct {
	line        int
	name, index string
}

// pattern is a regular expression that is compiled when it is first needed:
// most runs of the program need none.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

var assignmentLine = pattern(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)(?:\[([^]]*)\])?\+?=`)

// assignments finds the lines of a shell script that set a variable, in plain
// sight: at their beginning.
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

// assigned is the first line that sets a variable, or 0.
func (l *linter) assigned(name string) int {
	for _, a := range l.assigns {
		if a.name == name {
			return a.line
		}
	}
	return 0
}

// assignedAt is the last line that sets one element, or else the variable.
func (l *linter) assignedAt(name, index string) int {
	for _, a := range slices.Backward(l.assigns) {
		if a.name == name && (a.index == index || a.index == "" && index == "0") {
			return a.line
		}
	}
	return l.assigned(name)
}

var nameAhead = pattern(`^([A-Za-z_][A-Za-z0-9_]*)(?:\[([0-9]+)\])?`)

// lineOf is the line that sets what a text begins with, or 0.
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

// families are what names of directives begin with.
var families = []string{"PACKAGE_", "BUILT_", "DEST_", "BUILD_", "MAKE_", "PATCH_", "PRE_", "POST_", "MODULES_CONF", "AUTOINSTALL", "NO_WEAK"}

// names looks for directives that are none.
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

// used tells whether a variable is the author's own: something refers to it.
func (l *linter) used(name string) bool {
	return regexp.MustCompile(`\$\{?[#!]?` + regexp.QuoteMeta(name) + `\b`).MatchString(l.text)
}

// closest is the known name that a misspelt one stands for, or "".
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

// distance counts the letters to put in, take out or change to make b of a.
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
