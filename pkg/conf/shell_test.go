package conf

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var write = testkit.Write

// needBash skips the test without bash, or fails it where tests must not be
// skipped.
func needBash(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("bash is the judge here: ", err)
	}
	return path
}

// newReader is a reader below an empty root, as whoever runs the test.
func newReader(t testing.TB) *Reader {
	t.Helper()
	needBash(t)
	h := system.ThisHost(nil)
	h.Root.Dir = t.TempDir()
	return &Reader{Host: h, Run: system.NewRunner(h), Limit: 20 * time.Second}
}

// once gives one file to evaluate.
func once(path, text string) func(values) (source, bool) {
	given := false
	return func(values) (source, bool) {
		if given {
			return source{}, false
		}
		given = true
		return source{path, []byte(text)}, true
	}
}

// torture are texts of which bash, or DKMS, has its own idea.
var torture = []string{
	"MAKE='make KVER=$kernelver'",
	`MAKE="make KVER=\$kernelver"`,
	`MAKE="x \$(echo deferred) y"`,
	"MAKE=\"a   b\t\tc\n  d\"",
	`MAKE="  both ends  "`,
	`MAKE="CC=\"gcc\" x"`,
	`MAKE="CC=\"gcc -O\" x"` + "\nPATCH=p",
	`MAKE="a\\b \\\\ c"`,
	`MAKE='\$ \" \\ \a'`,
	"MAKE='a `echo tick` b'",
	"MAKE='unbalanced ` here'\nPATCH=p",
	`MAKE='unbalanced " here'` + "\nPATCH=p\nSTRIP=no",
	`MAKE="it's 'single'"`,
	"MAKE='x /etc/host* y'",
	"MAKE='/etc/host* y'",
	"MAKE='x /etc/host*'",
	"MAKE='a [z] ? b'",
	"set -f; MAKE='x /etc/host* y'",
	"IFS=:; MAKE='a:b  c'",
	"MAKE=\"x\"\r\nPATCH=\"y\"\r\n",
	"MAKE=$'x\\r\\r'",
	"MAKE[2]=two\nMAKE[7]=seven\nPATCH=(a b [5]=f)",
	"MAKE=(\"x y\" 'z')\nMAKE[0]+=more\nMAKE+=(last)",
	"declare -a MAKE=(q)\nlocal PATCH=local",
	"declare -A MAKE=([1]=one [2]=two)",
	"declare -i STRIP=1+2",
	"MAKE=kept\nif",
	"MAKE=kept\n)\nPATCH=lost",
	"MAKE='unterminated\nPATCH=x",
	"MAKE=x\nexit 0",
	"MAKE=x\nreturn 3\nPATCH=y",
	"MAKE=x\nset -e\nfalse\nPATCH=y",
	"set -u\nMAKE=x\nPATCH=$nothing\nSTRIP=y",
	"MAKE=$(exit 3)x\nfalse",
	"f() { MAKE=in; PATCH=$1; }\nf function",
	"case $kernelver in 6.*) MAKE=six;; *) MAKE=other;; esac",
	"if [[ $kernelver =~ ^([0-9]+)\\. ]]; then MAKE=${BASH_REMATCH[1]}; fi",
	"MAKE=${kernelver%%-*}\nPATCH=${kernelver/#6/six}\nSTRIP=${kernelver/%amd64/x}",
	"[[ $kernelver == @(6|5).* ]] && MAKE=extglob",
	"MAKE=a\nunset MAKE\nPATCH=",
	"echo noise; echo noise >&2; MAKE=x",
	"printf -v MAKE %s-%s a b\nread -r PATCH <<< 'here string'",
	"MAKE=$(cat <<EOF\nhere $arch document\nEOF\n)",
	"exec 3</dev/null 4</dev/null; MAKE=x",
	"exec >/dev/null; exec 2>&-; MAKE=x",
	"trap 'echo bye' EXIT; MAKE=x",
	"MAKE=`uname -s`",
	"while read -r line; do MAKE=stdin; done\nPATCH=x",
	"name_local=1 index=2 value=3 i=4 op=5; MAKE=$i",
	"MAKE='a'; MAKE='$MAKE$MAKE'",
	"readonly MAKE=fixed",
	"MAKE='\u00e4 \u20ac'",
	"MAKE='~ ~root {a,b} a!b #c ;d &e |f <g >h (i)'",
	"",
	"# only a comment",
}

// generated are texts put together from what is delicate.
func generated(n int) []string {
	pieces := []string{
		"a", "b c", " ", "  ", "\t", "\n", "\r", `\`, `\\`, `\"`, `\$`, "\\`", "'", "$kernelver", "${arch}",
		`\$kernelver`, `$(echo x)`, `\$(echo "y")`, "`echo z`", "*", "/etc/host*", "[ab]", "?", "~", ";", "#", "&", "{a,b}",
		"=", "-", "${MAKE}", "${MAKE[1]}", "!", "%", "$", "(", ")",
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var list []string
	for len(list) < n {
		var b strings.Builder
		for range 1 + rnd.IntN(4) {
			name := []string{"MAKE", "MAKE[1]", "MAKE[3]", "PATCH", "PATCH[2]", "STRIP"}[rnd.IntN(6)]
			quote := []string{`"`, `"`, `'`, ""}[rnd.IntN(4)]
			fmt.Fprintf(&b, "%s=%s", name, quote)
			for range rnd.IntN(6) {
				b.WriteString(pieces[rnd.IntN(len(pieces))])
			}
			b.WriteString(quote + "\n")
		}
		// The number of the process and the like differ for good reason.
		if !ownParameter.MatchString(strings.ReplaceAll(b.String(), `\`, "")) {
			list = append(list, b.String())
		}
	}
	return list
}

var ownParameter = regexp.MustCompile("[$]['\"]*[-$#?!]")

// oracle is what testdata/oracle.bash makes of the files. What it leaves as a
// blank at either end of a value means nothing and is cut off here.
func oracle(t *testing.T, names []string, vars map[string]string, files []string) []values {
	t.Helper()
	script, err := filepath.Abs("testdata/oracle.bash")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(needBash(t), append([]string{script, strings.Join(names, " ")}, files...)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	for name, value := range vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []values
	for block := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte("\n\x00")), []byte("\n\x00")) {
		v := values{}
		for _, r := range rows(append(block, "end"...)) {
			v.put(r)
		}
		list = append(list, v)
	}
	return list
}

// TestOracle compares two implementations of the two evaluations.
func TestOracle(t *testing.T) {
	r := newReader(t)
	dir := t.TempDir()
	texts := append(slices.Clone(torture), generated(400)...)
	var files []string
	for i, text := range texts {
		files = append(files, write(t, filepath.Join(dir, fmt.Sprintf("%03d.conf", i)), text))
	}
	names := []string{"MAKE", "PATCH", "STRIP"}
	vars := map[string]string{"kernelver": "6.1.0-56-amd64", "arch": "x86_64"}
	want := oracle(t, names, vars, files)
	if len(want) != len(files) {
		t.Fatalf("the oracle knows %d of %d files", len(want), len(files))
	}
	set := 0
	for i, text := range texts {
		for _, got := range evaluations(t, r.shell(names), vars, files[i], text) {
			set += len(got)
			if !equalValues(got, want[i]) {
				t.Errorf("read(%q) = %v; want %v", text, got, want[i])
			}
		}
	}
	if set < len(texts)/2 {
		t.Errorf("only %d variables are set by %d texts", set, len(texts))
	}
}

// evaluations evaluates a file by itself, and once more by bash if that has
// not happened.
func evaluations(t *testing.T, sh *shell, vars map[string]string, file, text string) []values {
	t.Helper()
	ev, err := sh.read(t.Context(), setting{vars: vars}, once(file, text))
	if errors.Is(err, errEnded) { // as the oracle's has
		return []values{{}}
	}
	if err != nil {
		t.Errorf("read(%q): %v", text, err)
		return nil
	}
	list := []values{ev.values}
	if _, ok := plain([]byte(text), sh.names, vars, values{}); ok {
		text = ":\n" + text
		if ev, err = sh.read(t.Context(), setting{vars: vars}, once(write(t, file, text), text)); err != nil {
			t.Errorf("read(%q): %v", text, err)
			return list
		}
		list = append(list, ev.values)
	}
	return list
}

func equalValues(a, b values) bool {
	return maps.EqualFunc(a, b, func(a, b Array) bool { return maps.Equal(a, b) })
}

const plainConf = "PACKAGE_NAME=demo\nPACKAGE_VERSION=1.0\nDEST_MODULE_LOCATION=/extra\n"

// traced is what a runner has started, from several goroutines.
type traced struct {
	sync.Mutex
	lines []string
}

func (tr *traced) Write(p []byte) (int, error) {
	tr.Lock()
	defer tr.Unlock()
	tr.lines = append(tr.lines, string(p))
	return len(p), nil
}

// started counts evaluations by bash; one may be several attempts where
// namespaces are not to be had.
func (tr *traced) started(op, file string) bool {
	return slices.ContainsFunc(tr.lines, func(l string) bool {
		return strings.HasSuffix(l, " dkms "+op+" "+file+"\n")
	})
}

// TestManyConfs reads many configurations, half of them without bash.
func TestManyConfs(t *testing.T) {
	r := newReader(t)
	var trace traced
	r.Run.Trace = &trace
	var refs []Ref
	for i := range 60 {
		file := filepath.Join(r.Host.Root.Dir, fmt.Sprint(i), "dkms.conf")
		text := plainConf + fmt.Sprintf("MAKE[0]=\"number %d\"\n", i)
		if i%2 == 1 {
			text += "leak=${leak}x\nPOST_ADD=$leak\n"
		}
		write(t, file, text)
		refs = append(refs, Ref{File: file})
	}
	for i, res := range r.Modules(t.Context(), refs) {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		if got, want := res.Conf.Make.At(0), fmt.Sprintf("number %d", i); got != want {
			t.Errorf("MAKE of conf %d = %q; want %q", i, got, want)
		}
		if i%2 == 1 && res.Conf.PostAdd != "x" {
			t.Errorf("conf %d sees a variable of another: %q", i, res.Conf.PostAdd)
		}
		if got := trace.started("read", refs[i].File); got != (i%2 == 1) {
			t.Errorf("bash reads conf %d: %v", i, got)
		}
		if trace.started("assign", refs[i].File) {
			t.Errorf("bash evaluates conf %d again, which has nothing to evaluate", i)
		}
	}
}

// TestBadNeighbours reads bad configurations between good ones.
func TestBadNeighbours(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can keep a configuration from killing its own user's processes")
	}
	const short = 400 * time.Millisecond
	late := "not evaluated within 400ms"
	neighbours(t, short, []neighbour{
		{"endless loop", "while :; do :; done", late},
		{"sleep", "sleep 1000", late},
		{"endless second evaluation", "MAKE='$(sleep 1000)'", late},
	})
	neighbours(t, 2*time.Minute, []neighbour{
		{"kills its process group", "kill -9 0", "ends the shell before its values can be read"},
		{"kills the first shell", "kill -9 $$\n" + plainConf, "-"}, // may do where there are no namespaces
		{"background process", "sleep 1000 & (while :; do :; done) &\n" + plainConf, ""},
		{"background process in a session of its own", "setsid sleep 1000 &\n" + plainConf, ""},
		{"noisy", "for ((i = 0; i < 5000; i++)); do echo $i; echo $i >&2; done\n" + plainConf, ""},
		{"endless complaints", "while :; do yes >&2; done\n" + plainConf, "ends the shell"},
		{"huge value", "printf -v MAKE %01100000d 0", "more than 1 MiB of values"},
		{"leaves at the second evaluation", "MAKE='\"; exit 0; \"'", "ends the shell that reads it"},
		{"replaces its shell", "exec true", "ends the shell before its values can be read"},
		{"reads our descriptors", "cat <&100 >/dev/null; " + plainConf, ""},
		{"redefines commands", "echo() { :; }; printf() { :; }; read() { :; }; source() { :; }\n" + plainConf, ""},
		{"expands to nothing", "shopt -s nullglob\nPRE_BUILD='x /nothere* y'\n" + plainConf, ""},
	})
	// Without a namespace this would reach every process of the user nobody on
	// the machine, whoever started it.
	if !contained(t) {
		t.Log("no process namespace: nothing is told to kill everything")
		return
	}
	neighbours(t, 2*time.Minute, []neighbour{
		{"kills everything", "kill -9 -1\n" + plainConf, ""},
	})
}

// contained reports whether configurations run in a process namespace here.
func contained(t *testing.T) bool {
	t.Helper()
	sh := newReader(t).shell(nil)
	if _, err := sh.evaluate(t.Context(), job{op: "read", src: source{"/none", []byte(":")}}); err != nil {
		t.Fatal(err)
	}
	return sh.confinements()[sh.first.Load()].contained()
}

// neighbour is a conf and what its error says, if it has one.
type neighbour struct{ name, text, want string }

func neighbours(t *testing.T, limit time.Duration, tests []neighbour) {
	t.Helper()
	r := newReader(t)
	r.Limit = limit
	good := write(t, filepath.Join(r.Host.Root.Dir, "good.conf"), plainConf)
	refs := []Ref{{File: good}}
	for i, test := range tests {
		bad := write(t, filepath.Join(r.Host.Root.Dir, fmt.Sprintf("bad%d.conf", i)), test.text)
		refs = append(refs, Ref{File: bad}, Ref{File: good})
	}
	results := r.Modules(t.Context(), refs)
	for i, test := range tests {
		got := results[2*i+1]
		switch {
		case test.want == "-":
		case test.want == "":
			if got.Err != nil {
				t.Errorf("%s: %v", test.name, got.Err)
			}
		case got.Err == nil || !strings.Contains(got.Err.Error(), test.want) || !strings.Contains(got.Err.Error(), refs[2*i+1].File):
			t.Errorf("%s: error %v; want %q and the file", test.name, got.Err, test.want)
		case exit.Status(got.Err) != exit.BadConf:
			t.Errorf("%s: status %d; want %d", test.name, exit.Status(got.Err), exit.BadConf)
		}
		if after := results[2*i+2]; after.Err != nil || after.Conf.Name != "demo" {
			t.Errorf("conf after %q = %v, %v; want it untouched", test.name, after.Conf, after.Err)
		}
	}
}

// TestUnprivileged looks at the evaluation from within.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("there is no privilege to give up")
	}
	if ids, err := os.ReadFile("/proc/self/uid_map"); err == nil && !strings.Contains(string(ids), "4294967295") {
		t.Skip("a user namespace without the user nobody, perhaps")
	}
	r := newReader(t)
	dir := filepath.Join(r.Host.Root.Dir, "private")
	conf := write(t, filepath.Join(dir, "dkms.conf"), plainConf+`
POST_ADD="$(id -u) $(id -g) $(id -G)"
PRE_BUILD="$(id -u > `+dir+`/mark 2>/dev/null && echo written)"
POST_BUILD="$0"
PRE_INSTALL='$(id -u)'
POST_INSTALL="$(grep -c : /proc/net/dev)"
POST_REMOVE="${LD_PRELOAD-unset}${SECRET-unset}"
`)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET", "leaked")
	res := r.Modules(t.Context(), []Ref{{File: conf}})[0]
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	m := res.Conf
	user, _, _ := strings.Cut(m.PostAdd, " ")
	if n, err := strconv.Atoi(user); err != nil || n < firstUser || n >= firstUser+users || system.IsBuildUser(n) {
		t.Errorf("the user is %q; want one that only evaluates", user)
	}
	for _, test := range []struct{ what, got, want string }{
		{"user and groups", m.PostAdd, user + " " + user + " " + user},
		{"user of the second evaluation", m.PreInstall, user},
		{"writing into a closed directory", m.PreBuild, ""},
		{"$0", m.PostBuild, "dkms"},
		{"environment", m.PostRemove, "unsetunset"},
	} {
		if test.got != test.want {
			t.Errorf("%s = %q; want %q", test.what, test.got, test.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "mark")); err == nil {
		t.Error("a conf wrote into a directory of root")
	}
}

// TestSourcePath compares what a conf sees of its own path with the path.
func TestSourcePath(t *testing.T) {
	r := newReader(t)
	dir, err := os.MkdirTemp("/var/tmp", "dkms-conf-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := write(t, filepath.Join(dir, "dkms.conf"), plainConf+"POST_ADD=${BASH_SOURCE[0]}\nfoo_bar\n")
	res := r.Modules(t.Context(), []Ref{{File: file}})[0]
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	if res.Conf.PostAdd != file {
		t.Errorf("BASH_SOURCE = %q; want %q", res.Conf.PostAdd, file)
	}
	if want := file + ":5: foo_bar: command not found"; !slices.Contains(res.Conf.Warnings, want) {
		t.Errorf("Warnings = %q; want %q among them", res.Conf.Warnings, want)
	}
}
