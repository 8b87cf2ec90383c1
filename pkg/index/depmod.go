package index

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dkms/pkg/system"
)

// Depmod is what a depmod program prints about itself.
type Depmod struct {
	// Version is the major version of kmod.
	Version int
	// Suffixes are the suffixes of the files that depmod treats as modules.
	Suffixes []string
}

// String is the version, and the suffixes, with blanks between them.
func (d Depmod) String() string { return fmt.Sprint(d.Version, " ", strings.Join(d.Suffixes, " ")) }

// The versions of kmod whose index format is known.
const (
	oldest, newest = 28, 34
	// weakdeps is the first version that writes modules.weakdep; nodeFirst is
	// the first that writes the nodes of a binary index from the root.
	weakdeps, nodeFirst = 33, 34
)

// ProbeDepmod asks depmod for its version.
func ProbeDepmod(ctx context.Context, run *system.Runner) (Depmod, error) {
	out, err := run.Output(ctx, system.Cmd{Argv: []string{"depmod", "--version"}})
	if err != nil {
		return Depmod{}, err
	}
	return parseDepmod(string(out))
}

func parseDepmod(text string) (Depmod, error) {
	words := strings.Fields(text)
	if len(words) < 3 || words[0] != "kmod" || words[1] != "version" {
		return Depmod{}, doubt("depmod is not kmod's")
	}
	major, _, _ := strings.Cut(words[2], ".")
	version, err := strconv.Atoi(major)
	if err != nil || version < oldest || version > newest {
		return Depmod{}, doubt("depmod is of kmod %s, whose index is not known", words[2])
	}
	d := Depmod{Version: version, Suffixes: []string{".ko"}}
	for _, c := range []struct{ feature, suffix string }{{"ZLIB", ".ko.gz"}, {"XZ", ".ko.xz"}, {"ZSTD", ".ko.zst"}} {
		switch {
		case slices.Contains(words, "+"+c.feature):
			d.Suffixes = append(d.Suffixes, c.suffix)
		case !slices.Contains(words, "-"+c.feature):
			return Depmod{}, doubt("depmod does not tell whether it reads %s files", c.suffix)
		}
	}
	return d, nil
}
