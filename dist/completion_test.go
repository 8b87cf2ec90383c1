package dist_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// completionRoot is a tree with two modules, two kernels and a source tree
// that is not added, and the completion files reading it.
func completionRoot(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, f := range []string{
		"/var/lib/dkms/hello/1.0/source/dkms.conf",
		"/var/lib/dkms/hello/2.0/source/dkms.conf",
		"/var/lib/dkms/zfs-kmod/2.1.11/source/dkms.conf",
		"/var/lib/dkms/mok.pub",
		"/usr/src/hello-1.0/dkms.conf",
		"/usr/src/new-thing-0.3-rc1/dkms.conf",
		"/usr/src/linux-headers-6.1/Makefile",
		"/lib/modules/6.1.0-56-amd64/modules.dep",
		"/lib/modules/6.1.0-56-rt-amd64/modules.dep",
		"/lib/modules/" + trap + "/modules.dep",
		"/var/lib/dkms/" + trap + "/1.0/source/dkms.conf",
		"/usr/src/" + trap + "-1/dkms.conf",
	} {
		write(t, root+f, "", 0o644)
	}
	for _, name := range []string{"dkms.bash", "_dkms", "dkms.fish"} {
		text := read(t, "completions/"+name)
		for _, dir := range []string{"/var/lib/dkms", "/usr/src", "/lib/modules"} {
			text = strings.ReplaceAll(text, dir, root+dir)
		}
		write(t, root+"/completions/"+name, text, 0o644)
	}
	return root
}

// trap is the name of a directory that a shell which expands it makes a file for.
const trap = "$(touch${IFS}trapped)"

// notTrapped checks that no name was expanded.
func notTrapped(t *testing.T, root string) {
	t.Helper()
	if _, err := os.Stat(root + "/trapped"); err == nil {
		t.Error("the completion has run the name of a directory")
	}
}

type completion struct{ line, want, not string }

// takes says what each verb is about: "added" modules, "sources", both, or
// kernels only. Every verb has a kernel but
// those that are about a file or nothing.
var takes = map[string]string{
	"add": "sources", "build": "added sources", "install": "added sources", "uninstall": "added", "unbuild": "added", "remove": "added",
	"list": "added", "status": "added", "match": "added", "mktarball": "added", "why": "added", "log": "added", "sign": "added", "lint": "added",
	"autoinstall": "", "check": "", "doctor": "", "rehearse": "", "mok": "", "generate_mok": "", "ldtarball": "file", "export": "added", "import": "",
	"version": "nothing", "gc": "nothing", "history": "nothing", "undo": "", "init": "file", "kernel_preinst": "", "kernel_postinst": "", "kernel_prerm": "",
}

// everyVerb has what must be offered for each verb: modules, their versions
// where the verb is about one, and kernels.
func everyVerb(t *testing.T) (list []completion) {
	for _, v := range slices.Sorted(maps.Keys(vocabulary(t))) {
		v, _, _ := strings.Cut(v, " ")
		what, known := takes[v]
		if !known {
			t.Errorf("%s is not in the table of completions", v)
		}
		line := "dkms " + v + " "
		switch what {
		case "added":
			list = append(list, completion{line, "hello zfs-kmod", "new-thing mok.pub linux-headers"})
		case "sources":
			list = append(list, completion{line, "hello new-thing", "zfs-kmod linux-headers"}, completion{line + "new-thing/", "new-thing/0.3-rc1", "hello/1.0"})
		case "added sources":
			list = append(list, completion{line, "hello zfs-kmod new-thing", "linux-headers"}, completion{line + "new-thing/", "new-thing/0.3-rc1", "hello/1.0"})
		}
		if strings.Contains(what, "added") && v != "match" { // of which it takes the version from the template
			list = append(list, completion{line + "hello/", "hello/1.0 hello/2.0", "zfs-kmod/2.1.11"})
		}
		if what != "file" && what != "nothing" {
			list = append(list, completion{line + "-k ", "6.1.0-56-amd64 6.1.0-56-rt-amd64", "hello"}, completion{line + "--kernelver ", "6.1.0-56-rt-amd64", "hello"})
		}
	}
	return list
}

// completions are command lines, up to the cursor, with what must and what
// must not be offered. Candidates are whole words, without what the shell has
// already; where shells split words differently, the last part counts.
var completions = []completion{
	{"dkms ", "add status kernel_prerm generate_mok", "hello mkdeb"},
	{"dkms un", "uninstall unbuild", "add"},
	{"dkms --quiet rem", "remove", "add"},
	{"dkms status ", "hello", "new-thing mok.pub"},
	{"dkms remove hello/", "hello/1.0 hello/2.0", "zfs-kmod/2.1.11 hello/0.3-rc1"},
	{"dkms remove --all hello/2", "hello/2.0", "hello/1.0"},
	{"dkms add new", "new-thing", "zfs-kmod linux-headers"},
	{"dkms add new-thing/", "new-thing/0.3-rc1", "hello/1.0"},
	{"dkms build -k ", "6.1.0-56-amd64 6.1.0-56-rt-amd64", "hello"},
	{"dkms build hello/1.0 -k 6.1.0-56-r", "6.1.0-56-rt-amd64", "6.1.0-56-amd64"},
	{"dkms autoinstall --kernelver ", "6.1.0-56-amd64", "hello"},
	{"dkms match --templatekernel ", "6.1.0-56-rt-amd64", "hello"},
	{"dkms build -m he", "hello", "zfs-kmod"},
	{"dkms build -m hello -v ", "1.0 2.0", "hello"},
	{"dkms install --force", "--force --force-version-override", "--all"},
	{"dkms remove --", "--all --no-depmod --rpm_safe_upgrade", "--symlink-modules --json"},
	{"dkms status --j", "--json", "--all"},
	{"dkms autoinstall --dry", "--dry-run", "--json"},
	{"dkms ldtarball --dry", "--dry-run", "--json"},
	{"dkms gc --ke", "--keep", "--json"},
	{"dkms undo --dr", "--dry-run", "--json"},
	{"dkms history --j", "--json", "--all"},
	{"dkms rehearse --dry", "--dry-run", "--json"},
	{"dkms generate_mok --dry", "--dry-run", "--json"},
	{"dkms why ", "hello zfs-kmod", "new-thing"},
	{"dkms log hello/", "hello/1.0 hello/2.0", "zfs-kmod/2.1.11"},
	{"dkms doctor --f", "--fix --force", "--json"},
	{"dkms init --d", "--dry-run", "--json"},
	{"dkms init ", "", "hello zfs-kmod new-thing"},
	{"dkms rehearse --h", "--headers --help", "--fix"},
	{"dkms rehearse -k ", "6.1.0-56-amd64", "hello"},
	{"dkms lint he", "hello", "zfs-kmod new-thing"},
	{"dkms export hello/", "hello/1.0 hello/2.0", "zfs-kmod/2.1.11"},
	{"dkms export hello/1.0 -k ", "6.1.0-56-amd64", "hello"},
	{"dkms export --f", "--format --force", "--fix"},
	{"dkms export --format ", "oci sysext deb rpm pacman", "hello"},
	{"dkms export --d", "--depends --dry-run", "--config"},
	{"dkms import --c", "--certificate", "--config"},
	{"dkms autoinstall --j", "--json", "--fix"},
	{"dkms mok --j", "--json", "--fix"},
	{"dkms uninstall -k 6.1.0-56-amd64 z", "zfs-kmod", "hello"},
	{"dkms install ", "hello zfs-kmod new-thing", "hello/1.0 hello/2.0 zfs-kmod/2.1.11 new-thing/0.3-rc1"},
	{"dkms log ", "hello zfs-kmod", "hello/1.0 zfs-kmod/2.1.11"},
	{"dkms build -m ", "hello", "hello/ hello/1.0"},
	{"dkms he", "help", "hello"},
	{"dkms help ch", "check", "hello"},
}

// check compares what a shell offers for a line with what it should.
func check(t *testing.T, shell, line string, got []string, want, not string) {
	t.Helper()
	slices.Sort(got)
	matches := func(word string) bool {
		return slices.ContainsFunc(got, func(g string) bool {
			return g == word || strings.HasPrefix(g, word+"/") && !strings.Contains(word, "/") || word[strings.LastIndex(word, "/")+1:] == g && strings.HasSuffix(line, "/")
		})
	}
	for _, w := range strings.Fields(want) {
		if !matches(w) && !(shell == "zsh" && strings.Contains(w, "/") && slices.Contains(got, w[strings.Index(w, "/")+1:])) {
			t.Errorf("%s: %q offers %q; want %s", shell, line, got, w)
		}
	}
	for _, w := range strings.Fields(not) {
		if matches(w) {
			t.Errorf("%s: %q offers %q; do not want %s", shell, line, got, w)
		}
	}
}

func TestBashCompletion(t *testing.T) {
	need(t, "bash")
	root := completionRoot(t)
	// The words as readline splits them, with "=" by itself.
	const driver = `
source "$1"; shift
complete -p dkms >/dev/null || exit
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_dkms dkms "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"`
	offer := func(words ...string) []string {
		argv := append([]string{"bash", "-uc", driver, "-", root + "/completions/dkms.bash"}, words...)
		return strings.Fields(mustRun(t, root, argv...))
	}
	for _, c := range append(everyVerb(t), completions...) {
		check(t, "bash", c.line, offer(strings.Split(c.line, " ")...), c.want, c.not)
	}
	for _, words := range [][]string{
		{"dkms", "build", "--kernelver", "="},
		{"dkms", "build", "--kernelver", "=", "6.1"},
	} {
		if got, want := offer(words...), []string{"6.1.0-56-amd64", "6.1.0-56-rt-amd64"}; !slices.Equal(got, want) {
			t.Errorf("bash: %q offers %q; want %q", words, got, want)
		}
	}
	if got, want := offer("dkms", "remove", "zf"), []string{"zfs-kmod/2.1.11"}; !slices.Equal(got, want) {
		t.Errorf("bash: dkms remove zf offers %q; want %q", got, want)
	}
	if got := offer("dkms", "remove", "$"); len(got) > 0 {
		t.Errorf("bash: dkms remove $ offers %q, which the shell would run", got)
	}
	notTrapped(t, root)
}

func TestFishCompletion(t *testing.T) {
	need(t, "fish")
	root := completionRoot(t)
	for _, c := range append(everyVerb(t), completions...) {
		out := mustRun(t, root, "fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, root+"/completions/dkms.fish", c.line)
		var got []string
		for _, line := range strings.Split(out, "\n") {
			word, _, _ := strings.Cut(line, "\t")
			got = append(got, word)
		}
		check(t, "fish", c.line, got, c.want, c.not)
	}
	notTrapped(t, root)
}

// zshrc makes a shell that, at ^T, prints every word that is handed to compadd
// and survives its matching. It says that it is ready when it reads keys.
const zshrc = `
PROMPT= RPS1= PS2=
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
  case " ${@[1,(i)(-|--)]} " in *" -"[OAD]" "*) builtin compadd "$@"; return ;; esac
  typeset -a hits
  builtin compadd -O hits "$@"
  (( $#hits )) && print -lr -- "HIT:"$^hits
  builtin compadd "$@"
}
finish() { compstate[insert]= compstate[list]=; print -r -- HITS-END; }
offer() { comppostfuncs=(finish); _main_complete; }
zle -C offer complete-word offer
bindkey "^T" offer
zle-line-init() { print -r -- READY; }
zle -N zle-line-init
`

// zshDriver types lines into such a shell, ^U before and ^T after each.
const zshDriver = `
zmodload zsh/zpty || exit 3
export ZDOTDIR=$1; shift
zpty shell "zsh -d -i"
zpty -r shell junk '*READY*'
for line; do
  zpty -w -n shell $'\x15'"$line"$'\x14'
  zpty -r shell out '*HITS-END*'
  print -r -- "$out"
done
zpty -d shell
`

func TestZshCompletion(t *testing.T) {
	need(t, "zsh", "timeout")
	root := completionRoot(t)
	write(t, root+"/completions/.zshrc", zshrc, 0o644)
	argv := []string{"timeout", "60", "zsh", "-fc", zshDriver, "-", root + "/completions"}
	all := append(everyVerb(t), completions...)
	for _, c := range all {
		argv = append(argv, c.line)
	}
	answers := strings.Split(strings.ReplaceAll(mustRun(t, root, argv...), "\r", ""), "HITS-END")
	if len(answers) != len(all)+1 {
		t.Fatalf("zsh answered %d of %d lines", len(answers)-1, len(all))
	}
	for i, c := range all {
		var got []string
		for _, line := range strings.Split(answers[i], "\n") {
			if at := strings.LastIndex(line, "HIT:"); at >= 0 {
				got = append(got, strings.TrimSuffix(strings.TrimSpace(line[at+4:]), ":"))
			}
		}
		check(t, "zsh", c.line, got, c.want, c.not)
	}
}
