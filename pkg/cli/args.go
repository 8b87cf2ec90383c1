package cli

import (
	"reflect"
	"strings"

	"dkms/pkg/exit"
)

// spelling is a row of the table of DKMS 3.4.3's options: it maps every way to
// write an option to the way that kong parses.
type spelling struct {
	// name is the canonical name, without dashes.
	name string
	// short is the one-letter spelling; its value is the next word.
	short string
	// prefix makes every word that begins with --name mean this option. The
	// value stands behind = or is the next word.
	prefix bool
	// value says that the option takes a value.
	value bool
	// gone marks an obsolete option: it is accepted and does nothing.
	gone bool
}

// spellings are the options of DKMS 3.4.3. The first match counts; the order is
// the original's, because prefixes overlap.
var spellings = []spelling{
	{name: "module", short: "m", prefix: true, value: true},
	{name: "modversion", short: "v", value: true},
	{name: "kernelver", short: "k", prefix: true, value: true},
	{name: "templatekernel", prefix: true, value: true},
	{name: "conf", short: "c", value: true},
	{name: "quiet", short: "q"},
	{name: "version", short: "V"},
	{name: "no-initrd", gone: true},
	{name: "no-clean-kernel", gone: true},
	{name: "no-prepare-kernel", gone: true},
	{name: "binaries-only"},
	{name: "source-only"},
	{name: "force"},
	{name: "force-version-override"},
	{name: "all"},
	{name: "verbose"},
	{name: "rpm_safe_upgrade"},
	{name: "dkmstree", prefix: true, value: true},
	{name: "sourcetree", prefix: true, value: true},
	{name: "installtree", prefix: true, value: true},
	{name: "symlink-modules"},
	{name: "config", prefix: true, value: true},
	{name: "archive", prefix: true, value: true},
	{name: "arch", short: "a", prefix: true, value: true},
	{name: "kernelsourcedir", prefix: true, value: true},
	{name: "directive", prefix: true, value: true},
	{name: "no-depmod"},
	{name: "modprobe-on-install"},
	{name: "debug"},
	{name: "jobs", short: "j", value: true},
	{name: "help", short: "h"},
}

// isOriginal reports whether DKMS 3.4.3 takes the option, with every action.
func isOriginal(name string) bool {
	for _, s := range spellings {
		if s.name == name {
			return true
		}
	}
	return false
}

// match reports whether word is a spelling of s, and returns the value that
// word contains.
func (s spelling) match(word string) (value string, inline, ok bool) {
	if s.short != "" && word == "-"+s.short {
		return "", false, true
	}
	long := "--" + s.name
	switch {
	case !s.prefix:
		value, inline = strings.CutPrefix(word, long+"=")
		return value, inline, word == long || inline && s.value
	case !strings.HasPrefix(word, long):
		return "", false, false
	}
	_, value, inline = strings.Cut(word, "=")
	return value, inline, true
}

// argument is an option in its canonical spelling.
type argument struct {
	name, value string
	hasValue    bool
}

func (a argument) String() string {
	if a.hasValue {
		return "--" + a.name + "=" + a.value
	}
	return "--" + a.name
}

// clean returns what the original makes of a value: only the first line,
// without blanks around it.
func clean(value string) string {
	value, _, _ = strings.Cut(value, "\n")
	return strings.Trim(value, " \t")
}

// normalize splits the words of a command line into options and positional
// words. deprecated are the options that were dropped. Spellings outside the
// table, such as -kRELEASE, are unknown, as in the original.
func normalize(words []string) (options []argument, positional, deprecated []string, err error) {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") || word == "-" {
			positional = append(positional, word)
			continue
		}
		s, value, inline := find(word)
		switch {
		case s == nil:
			return options, nil, nil, exit.Errorf(exit.BadOption, "%s: unknown option", word).WithHint("%s", spelled(word))
		case s.gone:
			deprecated = append(deprecated, word)
		case !s.value:
			options = append(options, argument{name: s.name})
		default:
			if !inline && i+1 < len(words) {
				i++
				value = words[i]
			}
			options = append(options, argument{s.name, clean(value), true})
		}
	}
	return options, positional, deprecated, nil
}

// spelled is the hint for an unknown option: a value does not belong to a letter
// in the same word.
func spelled(word string) string {
	if len(word) > 2 && word[1] != '-' {
		if s, _, _ := find(word[:2]); s != nil && s.value {
			return word[:2] + " " + strings.TrimPrefix(word[2:], "=") + ", in two words"
		}
	}
	return "dkms --help lists the options"
}

// find looks up word among the options of DKMS 3.4.3, and then among those that
// the verbs add.
func find(word string) (s *spelling, value string, inline bool) {
	for i := range spellings {
		if value, inline, ok := spellings[i].match(word); ok {
			return &spellings[i], value, inline
		}
	}
	declared := []any{&everyVerb{}}
	for _, v := range verbs() {
		declared = append(declared, v)
	}
	for _, d := range declared {
		for _, own := range optionsOf(d) {
			if value, inline, ok := own.match(word); ok {
				return &own, value, inline
			}
		}
	}
	return nil, "", false
}

// optionsOf lists the options that a struct of options, such as a verb, declares beyond those of DKMS 3.4.3:
// the fields with a name. It reads their tags, because building kong's tables
// for all verbs would slow down every run.
func optionsOf(v any) []spelling {
	var list []spelling
	for _, field := range reflect.VisibleFields(reflect.TypeOf(v).Elem()) {
		s := spelling{name: field.Tag.Get("name"), short: field.Tag.Get("short"), value: field.Type.Kind() != reflect.Bool}
		_, positional := field.Tag.Lookup("arg")
		if s.name != "" && !positional && !isOriginal(s.name) {
			list = append(list, s)
		}
	}
	return list
}
