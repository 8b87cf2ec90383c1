package cli

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"dkms/pkg/exit"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
)

const description = "Build, sign and install out-of-tree kernel modules.\n"

// usage lists all verbs, for dkms --help.
func usage(w io.Writer) {
	fmt.Fprintf(w, "Usage: dkms VERB [option ...] [module/version | directory | archive]\n\n%s\nVerbs:\n", description)
	list(w, func(about) bool { return true })
	fmt.Fprint(w, "\ndkms help VERB has its options and examples; dkms(8) has everything.\n")
}

// overview lists the everyday verbs, and what needs attention on this machine,
// for dkms without a word.
func (c *call) overview() {
	w := c.process.Out
	fmt.Fprintf(w, "%s\n", description)
	list(w, func(a about) bool { return a.everyday })
	fmt.Fprintln(w)
	err := c.tell(func(m *machine.Machine) (exit.Code, error) { return exit.OK, inspect.Attention(c.ctx, m) })
	if err != nil {
		c.report.Result("This machine: what needs attention is not known: " + err.Error())
	}
	fmt.Fprint(w, "\ndkms --help lists all verbs, dkms help VERB has its options and examples.\n")
}

func list(w io.Writer, wanted func(about) bool) {
	for _, v := range verbs() {
		if a := v.about(); wanted(a) && !a.hidden {
			fmt.Fprintf(w, "  %-16s %s\n", a.name, a.help)
		}
	}
}

// helpOn prints what one verb does, with its options and examples.
func helpOn(w io.Writer, parser *kong.Kong, l *line, options *everyVerb) error {
	a := l.about
	parser.Stdout = w
	parser.Model.Help = a.help
	for _, f := range parser.Model.Flags {
		explain(f.Value, options, l.verb)
	}
	for _, word := range parser.Model.Positional {
		explain(word, l.verb)
	}
	trace, err := kong.Trace(parser, nil)
	if err != nil {
		return err
	}
	if err := trace.PrintUsage(false); err != nil {
		return err
	}
	if a.needs != "" {
		fmt.Fprintf(w, "\nNeeds %s.\n", a.needs)
	}
	fmt.Fprint(w, "\nExamples:\n")
	for _, e := range a.examples {
		fmt.Fprintln(w, "  "+strings.TrimSpace("dkms "+e))
	}
	return nil
}

// explain gives kong the help of an option or a word, from the tag of its field
// in one of the structures. The help is not in kong's own tag, because kong
// would parse every text for variables in every run.
func explain(value *kong.Value, structures ...any) {
	for _, s := range structures {
		v := reflect.ValueOf(s).Elem()
		for _, field := range reflect.VisibleFields(v.Type()) {
			if !field.Anonymous && v.FieldByIndex(field.Index).Addr().Interface() == value.Target.Addr().Interface() {
				value.Help = field.Tag.Get("help")
			}
		}
	}
}
