package module

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ulikunitz/xz/lzma"
)

// Options are an admin's compress_gzip_opts, compress_xz_opts or
// compress_zstd_opts, understood. The zero value is the default for every
// compression. Options are made by [ParseOptions] and can be shared.
type Options struct {
	format Compression
	// level is gzip's or zstd's; 0 is the default, and zstd has negative ones.
	level int
	// dict is the size of xz's dictionary; 0 is the default.
	dict int
	// props are the lc, lp and pb of LZMA; nil is the default.
	props *lzma.Properties
	// noCheck leaves the check sum out.
	noCheck bool
	// tool says that only the tool can do it, with args.
	tool bool
	args []string
}

// ParseOptions understands opts as the tool of c does, where the order can
// matter: for xz "--lzma2=dict=1MiB -6" is a dictionary of 8 MiB, since a
// preset drops the filters before it. Options about files, threads and
// messages are accepted and mean nothing here. An option that is unknown, that
// does not compress, or that makes what the kernel cannot decode is an error
// that names it. Without any word the dictionary of xz is 1 MiB; with any it
// is what xz makes of them; its check is CRC32 unless it is turned off.
func ParseOptions(c Compression, opts string) (Options, error) {
	words := strings.Fields(opts)
	o := Options{format: c}
	if len(words) == 0 {
		return o, nil
	}
	var err error
	switch c {
	case Gzip:
		err = parseGzip(&o, words)
	case XZ:
		err = parseXZ(&o, words)
	case Zstd:
		err = parseZstd(&o, words)
	default:
		err = fmt.Errorf("option %s: nothing is compressed", words[0])
	}
	if err != nil {
		return Options{}, fmt.Errorf("%s: %w", c, err)
	}
	return o, nil
}

// argument says whether an option takes one.
type argument int

const (
	noArg    argument = iota
	needArg           // "--name=value", "--name value", "-nvalue", "-n value"
	optArg            // "--name=value" only; a short one takes none
	digitArg          // zstd: "-n" and digits with K or M behind, "--name=value", "--name value"
)

// option is one command line option of a tool.
type option struct {
	name  string // without dashes; a single letter where there is no long form
	short byte
	arg   argument
	set   func(value string) error // nil: nothing to do
	keep  bool                     // goes to the tool, which is then needed
	no    string                   // why it is refused
}

// grammar is a tool's way of reading its command line.
type grammar struct {
	options []option
	// level takes -1 and so on; zstd's can have several digits.
	level     func(n int) error
	maxDigits int
	// abbreviations are allowed by getopt_long, which gzip and xz use.
	abbreviations bool
	// kept are the words for the tool.
	kept []string
	need bool
}

// Refusals that several options share.
const (
	noCompress = "it does not compress"
	noOther    = "it takes other files or names than the module's"
	noDecode   = "the kernel cannot decode that"
)

func (g *grammar) parse(words []string) error {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		var err error
		switch {
		case strings.HasPrefix(word, "--") && len(word) > 2:
			words, err = g.long(word, words)
		case strings.HasPrefix(word, "-") && word != "--" && word != "-":
			words, err = g.shorts(word, words)
		default:
			err = fmt.Errorf("%s is not an option", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *grammar) long(word string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(word[2:], "=")
	o, err := g.find(name)
	switch {
	case err != nil:
		return nil, err
	case o.no != "":
		return nil, fmt.Errorf("option --%s: %s", o.name, o.no)
	case given && o.arg == noArg:
		return nil, fmt.Errorf("option --%s takes no value", o.name)
	case !given && (o.arg == needArg || o.arg == digitArg):
		if len(rest) == 0 {
			return nil, fmt.Errorf("option --%s needs a value", o.name)
		}
		value, given, rest = rest[0], true, rest[1:]
	}
	kept := "--" + o.name
	if given {
		kept += "=" + value
	}
	return rest, g.apply(o, kept, value)
}

// find looks name up, and completes it where the tool does.
func (g *grammar) find(name string) (option, error) {
	var found []option
	for _, o := range g.options {
		if len(o.name) == 1 {
			continue
		}
		if o.name == name {
			return o, nil
		}
		if g.abbreviations && strings.HasPrefix(o.name, name) {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return option{}, fmt.Errorf("unknown option --%s", name)
	case 1:
		return found[0], nil
	default:
		return option{}, fmt.Errorf("option --%s is ambiguous", name)
	}
}

// shorts reads a cluster of one-letter options such as -9nq.
func (g *grammar) shorts(word string, rest []string) ([]string, error) {
	for s := word[1:]; s != ""; {
		if n := min(digits(s), g.maxDigits); n > 0 {
			level, err := strconv.Atoi(s[:n])
			if err != nil {
				return nil, fmt.Errorf("option -%s: %w", s[:n], err)
			}
			if err := g.level(level); err != nil {
				return nil, fmt.Errorf("option -%s: %w", s[:n], err)
			}
			g.kept = append(g.kept, "-"+s[:n])
			s = s[n:]
			continue
		}
		o, ok := g.findShort(s[0])
		if !ok {
			return nil, fmt.Errorf("unknown option -%s", s[:1])
		}
		if o.no != "" {
			return nil, fmt.Errorf("option -%s: %s", s[:1], o.no)
		}
		value := ""
		switch s = s[1:]; o.arg {
		case digitArg:
			n := digits(s)
			n += len(s[n:]) - len(strings.TrimLeft(s[n:], "KMGiB"))
			value, s = s[:n], s[n:]
		case needArg:
			if s == "" && len(rest) == 0 {
				return nil, fmt.Errorf("option -%c needs a value", o.short)
			}
			if s == "" {
				s, rest = rest[0], rest[1:]
			}
			value, s = s, ""
		}
		if err := g.apply(o, "-"+string(o.short)+value, value); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func (g *grammar) findShort(letter byte) (option, bool) {
	for _, o := range g.options {
		if o.short == letter {
			return o, true
		}
	}
	return option{}, false
}

func (g *grammar) apply(o option, word, value string) error {
	if o.set != nil {
		if err := o.set(value); err != nil {
			return fmt.Errorf("option %s: %w", word, err)
		}
	}
	if o.set != nil || o.keep {
		g.kept = append(g.kept, word)
	}
	g.need = g.need || o.keep
	return nil
}

// digits is how many decimal digits s begins with.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}
