package cli

import (
	"strings"

	"dkms/pkg/exit"
)

// option is a row of the table that turns every spelling that DKMS takes into
// the one that is parsed.
type option struct {
	// name is the canonical spelling, without dashes.
	name string
	// short is the one-letter spelling; it takes its value as the next word.
	short string
	// prefix makes every word that begins with --name one of this option,
	// with its value behind = or as the next word, as the original has it.
	prefix bool
	// value says that the option has one.
	value bool
	// gone is an option of former times: it is accepted and does nothing.
	gone bool
}

// options are tried from the top; the order is the original's, since prefixes
// overlap.
var options = []option{
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
	{name: "dry-run", short: "n"},
	{name: "json"},
	{name: "fix"},
	{name: "headers", prefix: true, value: true},
	{name: "password-file", prefix: true, value: true},
	{name: "hash-file", prefix: true, value: true},
	{name: "format", prefix: true, value: true},
	{name: "busybox", prefix: true, value: true},
	{name: "certificate", prefix: true, value: true},
	{name: "insecure"},
	{name: "help", short: "h"},
}

// match tells whether word is a spelling of o, and the value it carries.
func (o option) match(word string) (value string, inline, ok bool) {
	if o.short != "" && word == "-"+o.short {
		return "", false, true
	}
	long := "--" + o.name
	switch {
	case !o.prefix:
		value, inline = strings.CutPrefix(word, long+"=")
		return value, inline, word == long || inline && o.value
	case !strings.HasPrefix(word, long):
		return "", false, false
	}
	_, value, inline = strings.Cut(word, "=")
	return value, inline, true
}

// clean is what the original makes of a value: blanks around it go, and
// everything behind the first line.
func clean(value string) string {
	value, _, _ = strings.Cut(value, "\n")
	return strings.Trim(value, " \t")
}

// normalize rewrites words so that every option is --NAME or --NAME=VALUE in
// its canonical spelling, and positional words come last. deprecated are the
// options that were dropped. Spellings outside the table, such as -kRELEASE,
// are as unknown as they are to the original.
func normalize(words []string) (args, deprecated []string, err error) {
	var positional []string
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") || word == "-" {
			positional = append(positional, word)
			continue
		}
		o, value, inline := find(word)
		switch {
		case o == nil:
			return nil, nil, exit.Errorf(exit.BadOption, "%s: unknown option", word).WithHint("dkms --help lists the options")
		case o.gone:
			deprecated = append(deprecated, word)
		case !o.value:
			args = append(args, "--"+o.name)
		default:
			if !inline && i+1 < len(words) {
				i++
				value = words[i]
			}
			args = append(args, "--"+o.name+"="+clean(value))
		}
	}
	return append(append(args, "--"), positional...), deprecated, nil
}

func find(word string) (o *option, value string, inline bool) {
	for i := range options {
		if value, inline, ok := options[i].match(word); ok {
			return &options[i], value, inline
		}
	}
	return nil, "", false
}
