package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/system"
)

// spellings has what each option is called, and what becomes of it: words are
// separated by a bar, since they may hold blanks.
var spellings = []struct{ option, words, want string }{
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
	{"dry-run", "-n", "--dry-run"},
	{"dry-run", "--dry-run", "--dry-run"},
	{"json", "--json", "--json"},
	{"fix", "--fix", "--fix"},
	{"headers", "--headers=/h", "--headers=/h"},
	{"headers", "--headers|/h", "--headers=/h"},
	{"password-file", "--password-file=/p", "--password-file=/p"},
	{"hash-file", "--hash-file|/h", "--hash-file=/h"},
	{"format", "--format=tar", "--format=tar"},
	{"format", "--format|tar", "--format=tar"},
	{"busybox", "--busybox=/b", "--busybox=/b"},
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

func TestSpellings(t *testing.T) {
	seen := map[string]bool{}
	for _, test := range spellings {
		seen[test.option] = true
		got, _, err := normalize(wordsOf(test.words))
		want := append(wordsOf(test.want), "--")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("normalize(%q) = %q, %v; want %q", test.words, got, err, want)
		}
	}
	for _, o := range options {
		if !seen[o.name] {
			t.Errorf("there is no spelling of %s in the table", o.name)
		}
	}
}

// The spellings that the original does not know either.
func TestUnknownSpellings(t *testing.T) {
	for _, word := range []string{
		"-kfoo", "-k=foo", "-m=x", "-mfoo", "-j4", "-j=4", "-v=1", "-a=x", "-qn", "-x", "--", "--forced", "--force=yes", "--all=1", "--quietly", "--verbose=1",
		"--versions", "--kernel=x", "--no-clean", "--spec=x", "--media=x", "--symlink", "--rpm-safe-upgrade", "---", "-Q", "--Module=x",
	} {
		_, _, err := normalize([]string{"status", word})
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
		got, _, err := normalize(strings.Split(test.words, "|"))
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
	_, deprecated, err := normalize([]string{"--no-initrd", "status", "--no-clean-kernel", "--no-prepare-kernel", "--no-initrd"})
	want := []string{"--no-initrd", "--no-clean-kernel", "--no-prepare-kernel", "--no-initrd"}
	if err != nil || !slices.Equal(deprecated, want) {
		t.Errorf("deprecated are %q, %v; want %q", deprecated, err, want)
	}
}

// parse takes words as [Main] does.
func parse(t *testing.T, words ...string) (flags, error) {
	t.Helper()
	var f flags
	parser, err := kong.New(&f, kong.Exit(func(int) { t.Error("the parser wants to exit") }))
	if err != nil {
		t.Fatal(err)
	}
	args, _, err := normalize(words)
	if err == nil && !slices.Contains(args, "--help") {
		_, err = parser.Parse(args)
	}
	return f, err
}

// What the table makes, the parser knows, and does not change.
func TestParserTakesTheTable(t *testing.T) {
	for _, test := range spellings {
		f, err := parse(t, wordsOf(test.words)...)
		if err != nil {
			t.Errorf("%s: %v", test.words, err)
		}
		changed := !reflect.ValueOf(f).IsZero()
		if none := test.want == "" || test.option == "help"; changed == none {
			t.Errorf("%s: flags are %+v", test.words, f)
		}
	}
	odd := []string{"a b", "a,b", "a;b", `a\,b`, `"a"`, "${x}", "%s", "-x", "--all", "@file", "a=b", "é", "'"}
	for _, v := range odd {
		f, err := parse(t, "-k", v, "--directive", v, "-a", v, "-v", v, "-c", v, "-j", v, "--config", v, "word", "-k", "second")
		if err != nil {
			t.Errorf("the value %q: %v", v, err)
			continue
		}
		if !slices.Equal(f.Kernelver, []string{v, "second"}) || !slices.Equal(f.Directive, []string{v}) || !slices.Equal(f.Arch, []string{v}) ||
			f.Modversion != v || f.Conf != v || *f.Jobs != v || f.Config != v || !slices.Equal(f.Words, []string{"word"}) {
			t.Errorf("the value %q became %+v", v, f)
		}
	}
}

// What comes out is canonical options, the end of options and words.
func FuzzNormalize(f *testing.F) {
	f.Add("-k", "6.1", "status")
	f.Add("--kernelver=", "--", "-")
	f.Add("--directive=A=b\nc", "\x00", "-m")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		args, _, err := normalize([]string{a, b, c})
		if err != nil {
			if exit.Status(err) != exit.BadOption {
				t.Errorf("normalize = %v", err)
			}
			return
		}
		end := slices.Index(args, "--")
		if end < 0 {
			t.Fatalf("%q has no end of options", args)
		}
		for _, w := range args[:end] {
			name, value, _ := strings.Cut(w, "=")
			if !slices.ContainsFunc(options, func(o option) bool { return "--"+o.name == name }) || strings.Contains(value, "\n") {
				t.Errorf("normalize(%q, %q, %q) = %q", a, b, c, args)
			}
		}
	})
}

// classified is what the words make of a request, with a working directory
// that holds traps.
func classified(t *testing.T, words ...string) (Request, string, error) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"src/dkms.conf", "src/sub/my-dkms.conf", "build/dkms.conf", "plain/Makefile", "foo", "foo.tar.gz", "foo.rpm"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := parse(t, words...)
	if err != nil {
		t.Fatal(err)
	}
	req, err := f.request(system.Host{Dir: dir}, nil)
	return req, dir, err
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
		{words: "ldtarball|none.tar.gz", verb: "ldtarball", name: "none.tar.gz"},
		{words: "kernel_prerm|-k|6.1", verb: "kernel_prerm"},
		// Modules with the names of actions.
		{words: "add|check|-v|1.0", verb: "add", name: "check", version: "1.0"},
		{words: "check|add|-v|1.0", verb: "add", name: "check", version: "1.0"},
		{words: "remove|log/1.0", verb: "remove", name: "log", version: "1.0"},
		{words: "status|mok", verb: "status", name: "mok"},
		{words: "why|doctor", verb: "why", name: "doctor"},
		{words: "log|log", verb: "log", name: "log"},
		{words: "mok|add|-v|1.0", verb: "add", name: "mok", version: "1.0"},
		{words: "mok|status", verb: "mok"},
		{words: "why|-m|status", verb: "why", name: "status"},
		{words: "status|/nonexistent", verb: "status", version: "nonexistent"},
	}
	for _, test := range tests {
		req, dir, err := classified(t, wordsOf(test.words)...)
		if err != nil {
			t.Errorf("%s: %v", test.words, err)
			continue
		}
		if test.source != "" {
			test.source = dir + test.source
		}
		if string(req.Verb) != test.verb || req.Name != test.name || req.Version != test.version || req.Source != test.source || req.Archive != test.archive {
			t.Errorf("%s: verb %q, module %q/%q, source %q, archive %q; want %+v", test.words, req.Verb, req.Name, req.Version, req.Source, req.Archive, test)
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
		"add|./plain":      exit.Usage,
		"build|/none":      exit.Usage,
		"lint|./plain":     exit.NoConfInDir,
		"lint|..":          exit.NoConfInDir,
		"ldtarball|./none": exit.NoSource,
	} {
		if _, _, err := classified(t, wordsOf(words)...); exit.Status(err) != want || err == nil {
			t.Errorf("%q: %v; want status %d", words, err, want)
		}
	}
}

// The help has every option that does something, and says something of each.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if got := Main(context.Background(), system.Host{}, Streams{Out: &out}, []string{"--help"}); got != 0 {
		t.Errorf("--help: status %d", got)
	}
	for _, o := range options {
		if first, _, _ := strings.Cut(o.help, " "); !o.gone && (first == "" || !regexp.MustCompile(` --`+o.name+`(=\S+)? +`+first).MatchString(out.String())) {
			t.Errorf("--help does not say what --%s is", o.name)
		}
	}
}

// Every action of the table is one, and nothing else.
func TestActions(t *testing.T) {
	for _, a := range []string{
		"add", "remove", "build", "unbuild", "install", "uninstall", "autoinstall", "match", "mktarball", "ldtarball", "status", "generate_mok",
		"kernel_preinst", "kernel_postinst", "kernel_prerm",
	} {
		if !isAction(a) {
			t.Errorf("%s is no action", a)
		}
		if !strings.Contains(description(), "\n  "+a+" ") {
			t.Errorf("the help does not have %s", a)
		}
	}
	for _, a := range []string{"", "Add", "mkdeb", "mkrpm", "kernel", "instal", "add "} {
		if isAction(a) {
			t.Errorf("%q is an action", a)
		}
	}
}

func TestSettings(t *testing.T) {
	for jobs, want := range map[string]int{"0": 0, "4": 4, " 8 ": 8} {
		f, err := parse(t, "build", "-j", jobs)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := f.settings(); err != nil || s.Jobs == nil || *s.Jobs != want {
			t.Errorf("-j %q: %v, %v; want %d", jobs, s.Jobs, err, want)
		}
	}
	for _, jobs := range []string{"-1", "many", "1.5", "99999999999999999999"} {
		f, err := parse(t, "build", "-j", jobs)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.settings(); exit.Status(err) != exit.Usage || err == nil {
			t.Errorf("-j %q: %v; want status 1", jobs, err)
		}
	}
	f, err := parse(t, "build", "--dkmstree=/d", "--sourcetree=/s", "--installtree=/i", "--kernelsourcedir=/h", "--config=/c", "--directive=A=1", "--directive=B=2", "--symlink-modules")
	if err != nil {
		t.Fatal(err)
	}
	want := machine.Settings{State: "/d", Source: "/s", Install: "/i", Headers: "/h", Config: "/c", Directives: []string{"A=1", "B=2"}, Symlink: true}
	if got, err := f.settings(); err != nil || !reflect.DeepEqual(got, want) {
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
		{"status|-h", 0, "Usage: dkms", ""},
		{"--bogus", 2, "", "dkms: --bogus: unknown option\ndkms: hint: "},
		{"", 1, "", "dkms: no action was given\ndkms: hint: "},
		{"add|build", 4, "", "dkms: two actions were given: add and build\n"},
		{"frob", 1, "", "dkms: frob: not an action\ndkms: hint: dkms --help "},
		{"foo/1.0", 1, "", "dkms: foo/1.0: not an action\ndkms: hint: dkms --help "},
		{"isntall|foo", 1, "", "dkms: isntall: not an action\ndkms: hint: dkms install, perhaps; "},
		{"stat", 1, "", "dkms: stat: not an action\ndkms: hint: dkms status, perhaps; "},
	}
	for _, test := range tests {
		var out, err bytes.Buffer
		got := Main(context.Background(), system.Host{Root: system.Root{Dir: t.TempDir()}}, Streams{Out: &out, Err: &err}, wordsOf(test.words))
		if got != test.status || !strings.HasPrefix(out.String(), test.stdout) || !strings.HasPrefix(err.String(), test.stderr) ||
			(test.stdout == "") != (out.Len() == 0) || (test.stderr == "") != (err.Len() == 0) {
			t.Errorf("%q: status %d, stdout %.80q, stderr %q; want %d, %q, %q", test.words, got, out.String(), err.String(), test.status, test.stdout, test.stderr)
		}
	}
}
