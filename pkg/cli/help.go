package cli

import (
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// usage prints what --help says. It is given to the parser here and not in the
// grammar, where every run would pay for it: kong looks through each text for
// variables.
func usage(parser *kong.Kong, w io.Writer) {
	parser.Stdout = w
	parser.Model.Help = description()
	for _, p := range parser.Model.Positional {
		p.Help = "Action, module, module/version, source directory, dkms.conf or archive."
	}
	for _, f := range parser.Model.Flags {
		if i := slices.IndexFunc(options, func(o option) bool { return o.name == f.Name }); i >= 0 {
			f.Help = options[i].help
		}
	}
	if k, err := kong.Trace(parser, nil); err == nil {
		k.PrintUsage(false)
	}
}

// description has the actions.
func description() string {
	var b strings.Builder
	b.WriteString("Build, sign and install out-of-tree kernel modules.\n\nActions:\n")
	for _, a := range actions {
		b.WriteString("  " + string(a.verb) + strings.Repeat(" ", 17-len(a.verb)) + a.help + "\n")
	}
	return b.String()
}
