package cli

import (
	"slices"
	"strings"

	"dkms/pkg/exit"
)

// line is a command line after the rewriting of old spellings: one verb, its
// options, and the remaining words.
type line struct {
	verb    verb
	about   about
	options []argument
	words   []string
	// named says that the line has a module, or a word that may be a module.
	named bool
	// open is the first word of a two-word verb while the second word may still
	// follow.
	open string
	// help says that the line asks for help.
	help bool
}

// rewrite finds the verb among the positional words. The verb may stand
// anywhere, and a module may have the name of a verb.
func rewrite(options []argument, positional []string) (*line, error) {
	l := &line{options: options}
	l.named = slices.ContainsFunc(options, func(o argument) bool { return o.name == "module" })
	l.help = slices.ContainsFunc(options, func(o argument) bool { return o.name == "help" })
	if len(positional) > 0 && positional[0] == "help" {
		l.help, positional = true, positional[1:]
	}
	for _, word := range positional {
		if err := l.add(word); err != nil {
			return l, err
		}
	}
	if l.verb == nil && (!l.help || len(positional) > 0) {
		return l, noAction(positional)
	}
	return l, nil
}

// add processes one positional word.
func (l *line) add(word string) error {
	first := l.open
	l.open = ""
	if first != "" {
		if v := verbOf(first + " " + word); v != nil {
			l.call(v)
			return nil
		}
	}
	v := verbOf(word)
	switch {
	case v != nil && l.verb == nil:
		l.call(v)
		if l.about.name != word {
			l.open = word
		}
	case first != "" && (v == nil || !v.about().original):
		return exit.Errorf(exit.Usage, "%s %s: unknown", first, word).WithHint("%s", secondWords(first))
	case v == nil:
		l.words = append(l.words, word)
		l.named = true
	case l.named, l.about.original && v.about().original:
		return exit.Errorf(exit.TwoActions, "two actions were given: %s and %s", l.about.name, word).
			WithHint("a module of that name is given as -m %s", word)
	case v.about().original:
		// The original knows no action with the first name, so the name is a
		// module there.
		name, _, _ := strings.Cut(l.about.name, " ")
		l.module(name)
		l.call(v)
	default:
		l.module(word)
	}
	return nil
}

func (l *line) call(v verb) { l.verb, l.about = v, v.about() }

// module names a module that has the name of a verb.
func (l *line) module(name string) {
	l.options = append(l.options, argument{"module", name, true})
	l.named = true
}

// verbOf returns the verb called name or, where name is the first of two words,
// the first verb that begins with name.
func verbOf(name string) verb {
	for _, v := range verbs() {
		if own := v.about().name; own == name || strings.HasPrefix(own, name+" ") {
			return v
		}
	}
	return nil
}

// secondWords lists the verbs that begin with a word.
func secondWords(first string) string {
	var list []string
	for _, v := range verbs() {
		if name := v.about().name; strings.HasPrefix(name, first+" ") {
			list = append(list, "dkms "+name)
		}
	}
	return strings.Join(list, ", or ")
}

// noAction is the error for words of which none is an action.
func noAction(words []string) error {
	const list = "dkms --help lists the actions"
	if len(words) == 0 {
		return exit.Errorf(exit.Usage, "no action was given").WithHint(list)
	}
	err := exit.Errorf(exit.Usage, "%s: not an action", words[0]).WithHint(list)
	for _, v := range verbs() {
		if name := v.about().name; !v.about().hidden && (strings.HasPrefix(name, words[0]) || misspelt(words[0], name)) {
			return err.WithHint("did you mean dkms %s? %s", name, list)
		}
	}
	return err
}

// misspelt reports whether a and b become equal when one letter is dropped from
// each: one letter is wrong, missing or added, or two letters are swapped.
func misspelt(a, b string) bool {
	drop := func(s string, i int) string { return s[:i] + s[min(i+1, len(s)):] }
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if len(a) > 2 && drop(a, i) == drop(b, j) {
				return true
			}
		}
	}
	return false
}

// contradictions rejects combinations that no verb accepts, in the order and
// with the statuses of DKMS 3.4.3.
func (l *line) contradictions() error {
	n := map[string]int{}
	empty := false
	for _, o := range l.options {
		n[o.name]++
		empty = empty || (o.name == "kernelver" || o.name == "arch") && o.value == ""
	}
	switch {
	case n["binaries-only"] > 0 && n["source-only"] > 0:
		return exit.Errorf(exit.OnlyConflict, "--binaries-only and --source-only exclude each other")
	case n["arch"] > 1 && n["arch"] != n["kernelver"]:
		return exit.Errorf(exit.Usage, "%d architectures were given for %d kernels", n["arch"], n["kernelver"]).
			WithHint("-a is given once, or once for every -k")
	case n["kernelver"] > 0 && n["all"] > 0:
		return exit.Errorf(exit.BadOption, "-k and --all exclude each other").
			WithHint("-k names kernels, --all means every kernel that the module is built for")
	case n["arch"] > 0 && n["all"] > 0:
		return exit.Errorf(exit.ArchWithAll, "-a and --all exclude each other").
			WithHint("--all means every kernel and architecture that the module is built for")
	case empty && l.about.name != "status":
		return exit.Errorf(exit.EmptyTarget, "an empty kernel release or architecture was given").
			WithHint("-k RELEASE or -k RELEASE/ARCH, as in /lib/modules")
	}
	return nil
}

// applicable drops the options of DKMS 3.4.3 that have no meaning for the verb,
// because DKMS 3.4.3 takes every option with every action. It rejects such
// options of this program. takes reports whether the verb declares an option.
func (l *line) applicable(takes func(option string) bool) ([]string, error) {
	var args []string
	for _, o := range l.options {
		switch {
		case takes(o.name):
			args = append(args, o.String())
		case o.name == "all":
			return nil, exit.Errorf(exit.AllBanned, "%s does not take --all", l.about.name).WithHint("-k RELEASE names a kernel")
		case o.name == "module" && !l.about.original:
			return nil, l.tooMany(o.value)
		case !isOriginal(o.name):
			return nil, exit.Errorf(exit.BadOption, "%s does not take --%s", l.about.name, o.name).
				WithHint("--%s belongs to %s", o.name, strings.Join(belongsTo(o.name), ", "))
		}
	}
	return args, nil
}

// tooMany is the error for a word that the verb cannot use.
func (l *line) tooMany(word string) error {
	if l.about.instead != "" {
		return exit.Errorf(exit.Usage, "%s: %s takes no module", word, l.about.name).WithHint("dkms %s %s", l.about.instead, word)
	}
	return exit.Errorf(exit.Usage, "%s: %s takes no further word", word, l.about.name).WithHint("dkms help %s", l.about.name)
}
