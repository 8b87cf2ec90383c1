package cli

import (
	"bytes"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// ways has what each option is called, and what becomes of it: words are
// separated by a bar, since they may hold blanks.
var ways = []struct{ option, words, want string }{
	{"module", "-m|foo", "--module=foo"},
	{"module", "--module|foo/1.0", "--module=foo/1.0"},
	{"module", "--module=foo/1/2", "--module=foo/1/2"},
	{"module", "--modulename|foo", "--module=foo"},
	{"module", "--module-version=1.0", "--module=1.0"}, // a prefix in the original too
	{"module", "-m|a|-m|b", "--module=a|--module=b"},
	{"modversion", "-v|1.0", "--modversion=1.0"},
	{"kernelver", "-k|6.1", "--kernelver=6.1"},
	{"kernelver", "--kernelver=6.1/x86_64", "--kernelver=6.1/x86_64"},
	{"kernelver", "--kernelversion|6.1", "--kernelver=6.1"},
	{"templatekernel", "--templatekernel=6.1", "--templatekernel=6.1"},
	{"templatekernel", "--templatekernelver|6.1", "--templatekernel=6.1"},
	{"conf", "-c|/x/dkms.conf", "--conf=/x/dkms.conf"},
	{"quiet", "-q", "--quiet"},
	{"quiet", "--quiet", "--quiet"},
	{"version", "-V", "--version"},
	{"version", "--version", "--version"},
	{"no-initrd", "--no-initrd", ""},
	{"no-clean-kernel", "--no-clean-kernel", ""},
	{"no-prepare-kernel", "--no-prepare-kernel", ""},
	{"binaries-only", "--binaries-only", "--binaries-only"},
	{"source-only", "--source-only", "--source-only"},
	{"force", "--force", "--force"},
	{"force-version-override", "--force-version-override", "--force-version-override"},
	{"all", "--all", "--all"},
	{"verbose", "--verbose", "--verbose"},
	{"rpm_safe_upgrade", "--rpm_safe_upgrade", "--rpm_safe_upgrade"},
	{"dkmstree", "--dkmstree=/d", "--dkmstree=/d"},
	{"dkmstree", "--dkmstreedir|/d", "--dkmstree=/d"},
	{"sourcetree", "--sourcetree|/s", "--sourcetree=/s"},
	{"sourcetree", "--sourcetrees=/s", "--sourcetree=/s"},
	{"installtree", "--installtree=/i", "--installtree=/i"},
	{"installtree", "--installtreeX|/i", "--installtree=/i"},
	{"symlink-modules", "--symlink-modules", "--symlink-modules"},
	{"config", "--config=/boot/config", "--config=/boot/config"},
	{"config", "--configfile|/c", "--config=/c"},
	{"archive", "--archive=x.tgz", "--archive=x.tgz"},
	{"archive", "--archives|x.tgz", "--archive=x.tgz"},
	{"arch", "-a|x86_64", "--arch=x86_64"},
	{"arch", "--arch=x86_64", "--arch=x86_64"},
	{"arch", "--architecture|x86_64", "--arch=x86_64"},
	{"kernelsourcedir", "--kernelsourcedir=/h", "--kernelsourcedir=/h"},
	{"kernelsourcedir", "--kernelsourcedirectory|/h", "--kernelsourcedir=/h"},
	{"directive", "--directive=A=b=c", "--directive=A=b=c"},
	{"directive", "--directive|A=b", "--directive=A=b"},
	{"directive", "--directives=A=b", "--directive=A=b"},
	{"no-depmod", "--no-depmod", "--no-depmod"},
	{"modprobe-on-install", "--modprobe-on-install", "--modprobe-on-install"},
	{"debug", "--debug", "--debug"},
	{"jobs", "-j|4", "--jobs=4"},
	{"sign", "--sign=never", "--sign=never"},
	{"sign", "--sign|later", "--sign=later"},
	{"root", "--root=/r", "--root=/r"},
	{"root", "--root|r", "--root=r"},
	{"toolchain", "--toolchain=root", "--toolchain=root"},
	{"toolchain", "--toolchain|/t", "--toolchain=/t"},
	{"dry-run", "-n", "--dry-run"},
	{"dry-run", "--dry-run", "--dry-run"},
	{"json", "--json", "--json"},
	{"fix", "--fix", "--fix"},
	{"env", "--env=A=b=c", "--env=A=b=c"},
	{"env", "--env|A=b", "--env=A=b"},
	{"all-kernels", "--all-kernels", "--all-kernels"},
	{"replace", "--replace", "--replace"},
	{"follow", "-f", "--follow"},
	{"follow", "--follow", "--follow"},
	{"keep", "--keep=2", "--keep=2"},
	{"keep", "--keep|2", "--keep=2"},
	{"yes", "--yes", "--yes"},
	{"yes", "-y", "--yes"},
	{"headers", "--headers=/h", "--headers=/h"},
	{"headers", "--headers|/h", "--headers=/h"},
	{"password-file", "--password-file=/p", "--password-file=/p"},
	{"hash-file", "--hash-file|/h", "--hash-file=/h"},
	{"format", "--format=tar", "--format=tar"},
	{"format", "--format|tar", "--format=tar"},
	{"busybox", "--busybox=/b", "--busybox=/b"},
	{"packager", "--packager|A <a@b>", "--packager=A <a@b>"},
	{"depends", "--depends=a (= 1), b", "--depends=a (= 1), b"},
	{"certificate", "--certificate|/c", "--certificate=/c"},
	{"insecure", "--insecure", "--insecure"},
	{"help", "-h", "--help"},
	{"help", "--help", "--help"},
}

// wordsOf splits a row of a table.
func wordsOf(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "|")
}

// canonical is what becomes of words: options, the end of options, words.
func canonical(words []string) ([]string, error) {
	options, positional, _, err := normalize(words)
	var list []string
	for _, o := range options {
		list = append(list, o.String())
	}
	return append(append(list, "--"), positional...), err
}

func TestSpellings(t *testing.T) {
	seen := map[string]bool{}
	for _, test := range ways {
		seen[test.option] = true
		got, err := canonical(wordsOf(test.words))
		want := append(wordsOf(test.want), "--")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("normalize(%q) = %q, %v; want %q", test.words, got, err, want)
		}
	}
	for _, o := range allOptions() {
		if !seen[o.name] {
			t.Errorf("there is no spelling of %s in the table", o.name)
		}
	}
}

// allOptions are those of DKMS 3.4.3 and of the verbs.
func allOptions() []spelling {
	list := append(slices.Clone(spellings), optionsOf(&everyVerb{})...)
	for _, v := range verbs() {
		list = append(list, optionsOf(v)...)
	}
	return list
}

// The spellings that the original does not know either.
func TestUnknownSpellings(t *testing.T) {
	for _, word := range []string{
		"-kfoo", "-k=foo", "-m=x", "-mfoo", "-j4", "-j=4", "-v=1", "-a=x", "-qn", "-x", "--", "--forced", "--force=yes", "--all=1", "--quietly", "--verbose=1",
		"--versions", "--kernel=x", "--no-clean", "--spec=x", "--media=x", "--symlink", "--rpm-safe-upgrade", "---", "-Q", "--Module=x", "--json=1", "--fixed",
	} {
		_, _, _, err := normalize([]string{"status", word})
		if exit.Status(err) != exit.BadOption || err == nil || !strings.HasPrefix(err.Error(), word+": ") {
			t.Errorf("normalize(%s) = %v; want status 2", word, err)
		}
	}
}

func TestValues(t *testing.T) {
	tests := []struct{ words, want string }{
		{"-k|  6.1\t", "--kernelver=6.1"},
		{"--kernelver= 6.1 ", "--kernelver=6.1"},
		{"--directive=A=b  c ", "--directive=A=b  c"},
		{"-k|6.1\nrm -rf /", "--kernelver=6.1"},
		{"-k|\n6.1", "--kernelver="},
		{"--directive=A=b\nB=c", "--directive=A=b"},
		{"-k", "--kernelver="},
		{"--kernelver", "--kernelver="},
		{"--kernelver=", "--kernelver="},
		{"--kernelver=|foo", "--kernelver=|--|foo"}, // the empty value is not filled from what follows
		{"-k|", "--kernelver="},
		{"-k|-a|x", "--kernelver=-a|--|x"}, // the next word is the value, whatever it looks like
		{"-k|--force", "--kernelver=--force"},
		{"-m|a,b", "--module=a,b"},
		{"status|-k|6.1|foo", "--kernelver=6.1|--|status|foo"},
		{"foo|--force|build|-q", "--force|--quiet|--|foo|build"},
		{"status|-|", "--|status|-|"},
	}
	for _, test := range tests {
		got, err := canonical(strings.Split(test.words, "|"))
		want := strings.Split(test.want, "|")
		if !slices.Contains(want, "--") {
			want = append(want, "--")
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("normalize(%q) = %q, %v; want %q", test.words, got, err, want)
		}
	}
}

func TestDeprecated(t *testing.T) {
	_, _, deprecated, err := normalize([]string{"--no-initrd", "status", "--no-clean-kernel", "--no-prepare-kernel", "--no-initrd"})
	want := []string{"--no-initrd", "--no-clean-kernel", "--no-prepare-kernel", "--no-initrd"}
	if err != nil || !slices.Equal(deprecated, want) {
		t.Errorf("deprecated are %q, %v; want %q", deprecated, err, want)
	}
}

// parse takes words as [Main] does, and returns the verb with its options.
func parse(words ...string) (*line, everyVerb, error) {
	var options everyVerb
	l, _, err := read(words)
	if err != nil {
		return l, options, err
	}
	parser, err := l.tables(&options)
	if err != nil {
		return l, options, err
	}
	if err := l.contradictions(); err != nil {
		return l, options, err
	}
	_, err = l.parse(parser)
	return l, options, err
}

// Every verb takes every option of DKMS 3.4.3, and its own; kong's tables of
// the verb have each of its own by the name that is in the table of spellings.
func TestEveryVerbTakesTheTable(t *testing.T) {
	for _, v := range verbs() {
		a := v.about()
		for _, test := range ways {
			own := slices.ContainsFunc(slices.Concat(optionsOf(&everyVerb{}), optionsOf(v)), func(s spelling) bool { return s.name == test.option })
			switch {
			case !isOriginal(test.option) && !own, test.option == "version", test.option == "help", test.option == "all":
				continue
			case test.option == "module" && !a.original:
				continue
			}
			if _, _, err := parse(append(strings.Fields(a.name), wordsOf(test.words)...)...); err != nil && exit.Status(err) != exit.Usage {
				t.Errorf("%s %s: %v", a.name, test.words, err)
			}
		}
		l := &line{verb: v, about: a}
		parser, err := l.tables(new(everyVerb))
		if err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
		for _, f := range parser.Model.Flags {
			if !slices.ContainsFunc(slices.Concat(spellings, optionsOf(&everyVerb{}), optionsOf(v)), func(s spelling) bool { return s.name == f.Name }) {
				t.Errorf("%s: the option %s has no name tag", a.name, f.Name)
			}
		}
	}
}

// kong does not change what the values are.
func TestValuesReachTheVerb(t *testing.T) {
	for _, v := range []string{"a b", "a,b", "a;b", `a\,b`, `"a"`, "${x}", "%s", "-x", "--all", "@file", "a=b", "é", "'"} {
		l, o, err := parse("-k", v, "--directive", v, "-a", v, "-v", v, "-c", v, "-j", v, "--config", v, "install", "word", "-k", "second", "-a", "x")
		if err != nil {
			t.Errorf("the value %q: %v", v, err)
			continue
		}
		i := l.verb.(*installVerb)
		if !slices.Equal(i.Kernelver, []string{v, "second"}) || !slices.Equal(o.Directive, []string{v}) || !slices.Equal(i.Arch, []string{v, "x"}) ||
			i.Modversion != v || i.Conf != v || *i.Jobs != v || o.Config != v || !slices.Equal(i.Words, []string{"word"}) {
			t.Errorf("the value %q became %+v, %+v", v, i, o)
		}
	}
}

// What comes out is canonical options and words.
func FuzzNormalize(f *testing.F) {
	f.Add("-k", "6.1", "status")
	f.Add("--kernelver=", "--", "-")
	f.Add("--directive=A=b\nc", "\x00", "-m")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		options, _, _, err := normalize([]string{a, b, c})
		if err != nil && exit.Status(err) != exit.BadOption {
			t.Errorf("normalize = %v", err)
		}
		for _, o := range options {
			if !slices.ContainsFunc(allOptions(), func(s spelling) bool { return s.name == o.name }) || strings.Contains(o.value, "\n") {
				t.Errorf("normalize(%q, %q, %q) = %q", a, b, c, options)
			}
		}
	})
}

// trap is a working directory that holds files which words may be taken for.
func trap(t *testing.T) system.Host {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"src/dkms.conf", "src/sub/my-dkms.conf", "build/dkms.conf", "hello/dkms.conf", "plain/Makefile", "foo", "foo.tar.gz", "foo.rpm"} {
		testkit.Write(t, filepath.Join(dir, name), "")
	}
	return system.Host{Dir: dir}
}

// classified is what a verb makes of words.
func classified(t *testing.T, words ...string) (l *line, s source, dir string, err error) {
	t.Helper()
	h := trap(t)
	l, _, err = parse(words...)
	if err != nil {
		return l, s, h.Dir, err
	}
	switch v := l.verb.(type) {
	case interface {
		find(system.Host) (source, error)
	}:
		s, err = v.find(h)
	case interface{ id() (id, error) }:
		s.id, err = v.id()
	case *ldtarballVerb:
		s.archive = v.file()
	}
	return l, s, h.Dir, err
}

func TestClassify(t *testing.T) {
	tests := []struct{ words, verb, name, version, source, archive string }{
		{words: "status", verb: "status"},
		{words: "status|foo", verb: "status", name: "foo"}, // a file of that name in the working directory is no archive
		{words: "foo/1.0|build", verb: "build", name: "foo", version: "1.0"},
		{words: "build|foo/1.0/2", verb: "build", name: "foo", version: "1.0/2"},
		{words: "build|foo/1.0|-v|2.0", verb: "build", name: "foo", version: "1.0"},
		{words: "build|-m|foo/1.0|-v|2.0", verb: "build", name: "foo", version: "2.0"},
		{words: "build|-v|1.0|-m|foo", verb: "build", name: "foo", version: "1.0"},
		{words: "build|-m|foo|-m|bar/2", verb: "build", name: "bar", version: "2"},
		{words: "build", verb: "build"}, // the action comes before the directory of that name
		{words: "add|./build", verb: "add", source: "/build"},
		{words: "add|src", verb: "add", source: "/src"},
		{words: "add|src/", verb: "add", source: "/src"},
		{words: "add|src/dkms.conf", verb: "add", source: "/src"},
		{words: "add|src/sub/my-dkms.conf", verb: "add", source: "/src/sub"},
		{words: "add|plain", verb: "add", name: "plain"},
		{words: "add|dkms.conf", verb: "add", name: "dkms.conf"},
		{words: "add|foo.tar.gz", verb: "add", archive: "foo.tar.gz"},
		{words: "install|./foo", verb: "install", archive: "./foo"},
		{words: "install|foo.rpm", verb: "install", archive: "foo.rpm"},
		{words: "ldtarball|none.tar.gz", verb: "ldtarball", archive: "none.tar.gz"},
		{words: "kernel_prerm|-k|6.1", verb: "kernel_prerm"},
		// Modules with the names of actions.
		{words: "add|check|-v|1.0", verb: "add", name: "check", version: "1.0"},
		{words: "check|add|-v|1.0", verb: "add", name: "check", version: "1.0"},
		{words: "add|help|-v|1.0", verb: "add", name: "help", version: "1.0"},
		{words: "remove|log/1.0", verb: "remove", name: "log", version: "1.0"},
		{words: "status|mok", verb: "status", name: "mok"},
		{words: "why|doctor", verb: "why", name: "doctor"},
		{words: "log|log", verb: "log", name: "log"},
		{words: "mok|add|-v|1.0", verb: "add", name: "mok", version: "1.0"},
		{words: "mok", verb: "mok status"},
		{words: "mok|status", verb: "mok status"},
		{words: "mok|-k|6.1|enroll", verb: "mok enroll"},
		{words: "why|-m|status", verb: "why", name: "status"},
		{words: "status|/nonexistent", verb: "status", version: "nonexistent"},
		// Modules with the names of source directories, of verbs that take none.
		{words: "sign|hello", verb: "sign", name: "hello"},
		{words: "status|hello", verb: "status", name: "hello"},
		{words: "remove|hello/1.0", verb: "remove", name: "hello", version: "1.0"},
		{words: "lint|src", verb: "lint", source: "/src"},
		{words: "lint|foo/1.0", verb: "lint", name: "foo", version: "1.0"},
	}
	for _, test := range tests {
		l, s, dir, err := classified(t, wordsOf(test.words)...)
		if err != nil {
			t.Errorf("%s: %v", test.words, err)
			continue
		}
		if test.source != "" {
			test.source = dir + test.source
		}
		if l.about.name != test.verb || s.name != test.name || s.version != test.version || s.dir != test.source || s.archive != test.archive {
			t.Errorf("%s: verb %q, %+v; want %+v", test.words, l.about.name, s, test)
		}
	}
}

func TestClassifyRefuses(t *testing.T) {
	for words, want := range map[string]exit.Code{
		"":                 exit.Usage,
		"foo":              exit.Usage,
		"build|install":    exit.TwoActions,
		"status|status":    exit.TwoActions,
		"build|foo|bar":    exit.Usage,
		"build|-m|foo|bar": exit.Usage,
		"add|build|check":  exit.TwoActions,
		"check|-m|foo|add": exit.TwoActions,
		"mok|frob":         exit.Usage,
		"mok|status|frob":  exit.Usage,
		"add|./plain":      exit.Usage,
		"build|/none":      exit.Usage,
		"lint|./plain":     exit.NoConfInDir,
		"lint|..":          exit.NoConfInDir,
		"why|a|b":          exit.Usage,
		// Words of verbs that take none.
		"autoinstall|foo":  exit.Usage,
		"check|nosuch":     exit.Usage,
		"check|-m|nosuch":  exit.Usage,
		"doctor|foo":       exit.Usage,
		"kernel_prerm|foo": exit.Usage,
		// Options of other verbs.
		"check|--fix":                          exit.BadOption,
		"build|foo/1.0|--json":                 exit.BadOption,
		"mok|enroll|--json":                    exit.BadOption,
		"install|foo|--headers=/h":             exit.BadOption,
		"install|foo/1.0|--all":                exit.AllBanned,
		"check|--all":                          exit.AllBanned,
		"install|foo/1.0|--all|-k|1":           exit.BadOption,
		"remove|foo/1.0|--all|-a|x":            exit.ArchWithAll,
		"status|--binaries-only|--source-only": exit.OnlyConflict,
		"build|foo/1.0|-a|x|-a|y":              exit.Usage,
		"build|foo/1.0|-k":                     exit.EmptyTarget,
	} {
		if _, _, _, err := classified(t, wordsOf(words)...); exit.Status(err) != want || err == nil {
			t.Errorf("%q: %v; want status %d", words, err, want)
		}
	}
}

// The verbs that an option belongs to are named.
func TestOptionsNameTheirVerbs(t *testing.T) {
	_, _, err := parse("check", "--fix")
	if exit.Hint(err) != "--fix belongs to doctor" {
		t.Errorf("check --fix: hint %q", exit.Hint(err))
	}
}

// The actions of the original are verbs, and nothing else of this kind.
func TestActions(t *testing.T) {
	for _, a := range []string{
		"add", "remove", "build", "unbuild", "install", "uninstall", "autoinstall", "match", "mktarball", "ldtarball", "status", "generate_mok",
		"kernel_preinst", "kernel_postinst", "kernel_prerm",
	} {
		if v := verbOf(a); v == nil || !v.about().original {
			t.Errorf("%s is no action", a)
		}
	}
	for _, a := range []string{"", "Add", "mkdeb", "mkrpm", "kernel", "instal", "add "} {
		if verbOf(a) != nil {
			t.Errorf("%q is an action", a)
		}
	}
}

// Each verb has a help of its own, with its options, and examples that are
// right.
func TestHelp(t *testing.T) {
	for _, v := range verbs() {
		a := v.about()
		for _, words := range [][]string{append([]string{"help"}, strings.Fields(a.name)...), append(strings.Fields(a.name), "--help")} {
			var out bytes.Buffer
			if got := Main(system.Process{Args: words, Out: &out}); got != 0 {
				t.Errorf("%s: status %d", words, got)
			}
			text := out.String()
			for _, want := range []string{"Usage: dkms " + a.name, a.help, "\n  dkms " + a.examples[0] + "\n", "\n  dkms " + a.examples[1] + "\n", "--verbose"} {
				if !strings.Contains(text, want) {
					t.Errorf("dkms %s does not say %q:\n%s", words, want, text)
				}
			}
			for _, o := range optionsOf(v) {
				if !strings.Contains(text, " --"+o.name) && !hidden(v, o.name) {
					t.Errorf("dkms %s does not have --%s", words, o.name)
				}
			}
		}
		for _, example := range a.examples {
			if l, _, err := parse(strings.Fields(example)...); err != nil || l.about.name != a.name {
				t.Errorf("dkms %s: %s, %v", example, l.about.name, err)
			}
		}
	}
}

// hidden tells the options that mean nothing to a verb and are not shown.
func hidden(v verb, option string) bool {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v).Elem()) {
		if _, hides := f.Tag.Lookup("hidden"); hides && f.Tag.Get("name") == option {
			return true
		}
	}
	return false
}

func TestSettings(t *testing.T) {
	settings := func(words ...string) (machine.Settings, error) {
		l, o, err := parse(words...)
		if err != nil {
			t.Fatal(err)
		}
		i := l.verb.(*installVerb)
		c := call{options: o}
		return c.settings(i.jobs, i.SymlinkModules)
	}
	for words, want := range map[string]int{"0": 0, "4": 4, " 8 ": 8} {
		if s, err := settings("install", "-j", words); err != nil || s.Jobs == nil || *s.Jobs != want {
			t.Errorf("-j %q: %v, %v; want %d", words, s.Jobs, err, want)
		}
	}
	for _, words := range []string{"-1", "many", "1.5", "99999999999999999999"} {
		if _, err := settings("install", "-j", words); exit.Status(err) != exit.Usage || err == nil {
			t.Errorf("-j %q: %v; want status 1", words, err)
		}
	}
	want := machine.Settings{State: "/d", Source: "/s", Install: "/i", Headers: "/h", Config: "/c", Directives: []string{"A=1", "B=2"}, Symlink: true}
	got, err := settings("install", "--dkmstree=/d", "--sourcetree=/s", "--installtree=/i", "--kernelsourcedir=/h", "--config=/c", "--directive=A=1", "--directive=B=2", "--symlink-modules")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("settings = %+v, %v; want %+v", got, err, want)
	}
}

// Help, version and bad usage are answered without a look at the machine.
func TestMainAlone(t *testing.T) {
	tests := []struct {
		words          string
		status         int
		stdout, stderr string // what they begin with
	}{
		{"--version", 0, "dkms-3.4.3\n", ""},
		{"-V|build|foo", 0, "dkms-3.4.3\n", ""},
		{"--help", 0, "Usage: dkms", ""},
		{"help", 0, "Usage: dkms", ""},
		{"status|-h", 0, "Usage: dkms status", ""},
		{"--bogus", 2, "", "dkms: --bogus: unknown option\ndkms: hint: dkms --help "},
		{"-j4|autoinstall", 2, "", "dkms: -j4: unknown option\ndkms: hint: -j 4, in two words\n"},
		{"-k=6.1|check", 2, "", "dkms: -k=6.1: unknown option\ndkms: hint: -k 6.1, in two words\n"},
		{"-qn|check", 2, "", "dkms: -qn: unknown option\ndkms: hint: dkms --help "},
		{"", 1, "Build, sign and install", "dkms: no action was given\n"},
		{"-m|foo", 1, "", "dkms: no action was given\ndkms: hint: "},
		{"add|build", 4, "", "dkms: two actions were given: add and build\n"},
		{"frob", 1, "", "dkms: frob: not an action\ndkms: hint: dkms --help "},
		{"help|frob", 1, "", "dkms: frob: not an action\ndkms: hint: dkms --help "},
		{"foo/1.0", 1, "", "dkms: foo/1.0: not an action\ndkms: hint: dkms --help "},
		{"isntall|foo", 1, "", "dkms: isntall: not an action\ndkms: hint: did you mean dkms install? "},
		{"stat", 1, "", "dkms: stat: not an action\ndkms: hint: did you mean dkms status? "},
		{"check|nosuch", 1, "", "dkms: nosuch: check takes no module\ndkms: hint: dkms why nosuch\n"},
	}
	for _, test := range tests {
		var out, err bytes.Buffer
		got := Main(system.Process{Host: system.Host{Root: system.Root{Dir: t.TempDir()}}, Args: wordsOf(test.words), Out: &out, Err: &err})
		if got != test.status || !strings.HasPrefix(out.String(), test.stdout) || !strings.HasPrefix(err.String(), test.stderr) ||
			(test.stdout == "") != (out.Len() == 0) || (test.stderr == "") != (err.Len() == 0) {
			t.Errorf("%q: status %d, stdout %.80q, stderr %q; want %d, %q, %q", test.words, got, out.String(), err.String(), test.status, test.stdout, test.stderr)
		}
	}
}
