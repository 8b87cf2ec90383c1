package system

import (
	"regexp"
	"sync"
)

// Pattern returns a regular expression that is compiled at its first use,
// because most runs of the program need none. It panics then if expr is not
// one, see regexp.MustCompile.
func Pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
