package build

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkms/pkg/system"
)

// logs are what compilers and their like leave behind, with the lines that are
// to be quoted.
var logs = []struct{ name, log, want string }{
	{"gcc", `make: Entering directory '/usr/src/linux-headers-6.1.0-56-amd64'
  CC [M]  /var/lib/dkms/foo/1.0/build/foo.o
/var/lib/dkms/foo/1.0/build/foo.c: In function ‘foo_init’:
/var/lib/dkms/foo/1.0/build/foo.c:12:9: warning: unused variable ‘x’ [-Wunused-variable]
   12 |     int x;
/var/lib/dkms/foo/1.0/build/foo.c:14:9: error: implicit declaration of function ‘bar’ [-Werror=implicit-function-declaration]
   14 |         bar();
      |         ^~~
/var/lib/dkms/foo/1.0/build/foo.c:20:1: error: something else
cc1: some warnings being treated as errors
make[2]: *** [scripts/Makefile.build:250: /var/lib/dkms/foo/1.0/build/foo.o] Error 1
make[1]: *** [Makefile:2014: /var/lib/dkms/foo/1.0/build] Error 2
`, `/var/lib/dkms/foo/1.0/build/foo.c:14:9: error: implicit declaration of function ‘bar’ [-Werror=implicit-function-declaration]
   14 |         bar();
      |         ^~~`},
	{"a header that is missing", `foo.c:3:10: fatal error: linux/nonsense.h: No such file or directory
    3 | #include <linux/nonsense.h>
      |          ^~~~~~~~~~~~~~~~~~
compilation terminated.
`, `foo.c:3:10: fatal error: linux/nonsense.h: No such file or directory
    3 | #include <linux/nonsense.h>
      |          ^~~~~~~~~~~~~~~~~~`},
	{"clang", `foo.c:5:2: error: call to undeclared function 'bar'; ISO C99 and later do not support implicit function declarations [-Wimplicit-function-declaration]
    5 |         bar();
      |         ^
1 error generated.
`, `foo.c:5:2: error: call to undeclared function 'bar'; ISO C99 and later do not support implicit function declarations [-Wimplicit-function-declaration]
    5 |         bar();
      |         ^`},
	{"an option that the compiler does not know", "gcc: error: unrecognized command-line option ‘-mrecord-mcount’\n", "gcc: error: unrecognized command-line option ‘-mrecord-mcount’"},
	{"modpost", `  MODPOST /build/Module.symvers
WARNING: modpost: missing MODULE_DESCRIPTION() in /build/foo.o
ERROR: modpost: "bar" [/build/foo.ko] undefined!
make[2]: *** [scripts/Makefile.modpost:126: /build/Module.symvers] Error 1
`, `ERROR: modpost: "bar" [/build/foo.ko] undefined!`},
	{"a symbol for GPL only", "ERROR: modpost: GPL-incompatible module foo.ko uses GPL-only symbol 'bar'\n", "ERROR: modpost: GPL-incompatible module foo.ko uses GPL-only symbol 'bar'"},
	{"ld", "ld: foo.o: in function `init':\nfoo.c:(.text+0x5): undefined reference to `bar'\n", "foo.c:(.text+0x5): undefined reference to `bar'"},
	{"lld", "ld.lld: error: undefined symbol: bar\n>>> referenced by foo.c\n", "ld.lld: error: undefined symbol: bar"},
	{"patch", `patching file foo.c
Hunk #1 FAILED at 1.
1 out of 1 hunk FAILED -- saving rejects to file foo.c.rej
`, "1 out of 1 hunk FAILED -- saving rejects to file foo.c.rej"},
	{"harmless lines before it", "libbpf: failed to find '.BTF' ELF section in vmlinux: error: x\nx.c:1:1: error: e\n", "x.c:1:1: error: e"},
	{"make alone", "make: *** No rule to make target 'modules'.  Stop.\n", "make: *** No rule to make target 'modules'.  Stop."},
	{"the first of make's", "make[1]: *** [Makefile:3: x] Error 2\nmake: *** [Makefile:1: all] Error 2\n", "make[1]: *** [Makefile:3: x] Error 2"},
	{"a compiler that was killed", `gcc: fatal error: Killed signal terminated program cc1
compilation terminated.
`, "gcc: fatal error: Killed signal terminated program cc1"},
	{"a program that is missing", "make[1]: Entering directory '/x'\n/bin/sh: 1: flex: not found\n", "/bin/sh: 1: flex: not found"},
	{"a program that bash misses", "bash: line 1: ./configure.sh: command not found\n", "bash: line 1: ./configure.sh: command not found"},
	{"a full disk", "/tmp/ccX.s: Assembler messages:\nfatal: can't write 40 bytes: No space left on device\n", "fatal: can't write 40 bytes: No space left on device"},
	{"a shell that does not understand", "sh: 1: Syntax error: \"(\" unexpected\ndkms: line 1: syntax error near `('\n", "sh: 1: Syntax error: \"(\" unexpected"},
	{"several hunks", "2 out of 3 hunks FAILED -- saving rejects to file x.c.rej\n", "2 out of 3 hunks FAILED -- saving rejects to file x.c.rej"},
	{"a makefile that make cannot read", "Makefile:3: *** missing separator.  Stop.\n", "Makefile:3: *** missing separator.  Stop."},
	{"modpost", "FATAL: modpost: x.o is truncated\n", "FATAL: modpost: x.o is truncated"},
	{"no more than four lines", "x.c:1:1: error: e\n 1\n 2\n 3\n 4\n 5\n", "x.c:1:1: error: e\n 1\n 2\n 3"},
	{"the last line without an end", "x.c:1:1: error: e", "x.c:1:1: error: e"},
	{"the header of a block is no error", "# command: sh -c 'echo x: error: y'\nall is well\n", "all is well"},
	{"nothing wrong", "  CC [M]  foo.o\n  LD [M]  foo.ko\n", ""},
	{"nothing", "", ""},
}

func TestFirstError(t *testing.T) {
	for _, test := range logs {
		file := filepath.Join(t.TempDir(), "make.log")
		if err := os.WriteFile(file, []byte(test.log), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(FirstError(file), "\n"); got != test.want {
			t.Errorf("%s: FirstError = %q; want %q", test.name, got, test.want)
		}
	}
	if got := FirstError(filepath.Join(t.TempDir(), "none")); got != nil {
		t.Errorf("FirstError of nothing = %q", got)
	}
}

func FuzzFirstError(f *testing.F) {
	file := filepath.Join(f.TempDir(), "make.log")
	for _, l := range logs {
		f.Add([]byte(l.log))
	}
	f.Add([]byte("x: error: " + strings.Repeat("é", 1000)))
	f.Add([]byte("x: error: \xc3" + strings.Repeat("é", 144) + "\xc3\x00\xa9"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		got := FirstError(file)
		if len(got) > errorContext+1 {
			t.Errorf("FirstError(%q) quotes %d lines", data, len(got))
		}
		for _, line := range got {
			if len(line) > maxLogLine || !strings.Contains(strings.ToValidUTF8(string(data), ""), line) {
				t.Errorf("FirstError(%q) quotes %q", data, line)
			}
		}
	})
}

// A log with a line that is longer than any line should be is still read.
func TestFirstErrorLongLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "make.log")
	log := strings.Repeat("x", 500_000) + "\nfoo.c:1:1: error: " + strings.Repeat("y", 500_000) + "\n"
	if err := os.WriteFile(file, []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	got := FirstError(file)
	if len(got) != 1 || len(got[0]) != maxLogLine || !strings.HasPrefix(got[0], "foo.c:1:1: error: yyy") {
		t.Errorf("FirstError = %.60q", got)
	}
}

// ticking is a clock that goes on by step at every look.
func ticking(step time.Duration) func() time.Time {
	now := time.Date(2026, 11, 23, 13, 33, 53, 0, time.UTC)
	return func() time.Time {
		defer func() { now = now.Add(step) }()
		return now
	}
}

// The form is the original's; tools that report bugs read it.
func TestLogBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "make.log")
	if err := os.WriteFile(path, []byte("came with the sources\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := openLog(path, "DKMS (dkms-3.4.3) make.log for foo/1.0 for kernel 6.1 (x86_64)", ticking(3725*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.step("Applying patch x", "patch -p1 < ./patches/x", func(w io.Writer) error {
		_, err := io.WriteString(w, "patching file foo.c\n")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &work{
		Builder: &Builder{Inputs: Inputs{Run: system.NewRunner(system.Host{})}}, scratch: &scratch{dir: dir}, ticket: &ticket{pool: &Pool{}},
		log: l, env: map[string]string{"NAME": "value"},
	}
	err = w.shell(context.Background(), "Building module(s)", `echo "$0 $PWD $NAME"; echo err >&2; exit 2`)
	if e, ok := errors.AsType[*system.ExitError](err); !ok || e.Status != 2 {
		t.Errorf("shell = %v; want status 2", err)
	}
	if err := l.step("Running the pre_build script", "cd x", func(io.Writer) error { return errors.New("not to be started") }); err == nil {
		t.Error("the error of a step is lost")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const rule = "----------------------------------------------------------------"
	want := `came with the sources
DKMS (dkms-3.4.3) make.log for foo/1.0 for kernel 6.1 (x86_64)
Mon Nov 23 13:33:53 UTC 2026

Applying patch x
# command: patch -p1 < ./patches/x
patching file foo.c

# exit code: 0
# elapsed time: 01:02:05
` + rule + `

Building module(s)
# command: echo "$0 $PWD $NAME"; echo err >&2; exit 2
dkms ` + dir + ` value
err

# exit code: 2
# elapsed time: 01:02:05
` + rule + `

Running the pre_build script
# command: cd x
not to be started

# exit code: 1
# elapsed time: 01:02:05
` + rule + "\n"
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("the log is, %v,\n%s\nwant\n%s", err, got, want)
	}
	if len(rule) != 64 {
		t.Errorf("the rule has %d dashes", len(rule))
	}
}

func TestLogLongTimes(t *testing.T) {
	for step, want := range map[time.Duration]string{
		0: "00:00:00", 400 * time.Millisecond: "00:00:00", 600 * time.Millisecond: "00:00:01", 59*time.Minute + 59*time.Second: "00:59:59", 100 * time.Hour: "100:00:00",
	} {
		path := filepath.Join(t.TempDir(), "make.log")
		l, err := openLog(path, "title", ticking(step))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.step("x", "y", func(io.Writer) error { return nil }); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if got, _ := os.ReadFile(path); !strings.Contains(string(got), "\n# elapsed time: "+want+"\n") {
			t.Errorf("after %v the log is %q; want %s", step, got, want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	names := []string{"plain.patch", "sub/0001-x_y.patch", "a b", "it's", "$(touch x)", "`id`", "a;b", "a\nb", "*", "~", "", "\\", "-n", "\"", "é", "!x"}
	run := system.NewRunner(system.Host{})
	for _, s := range names {
		out, err := run.Output(context.Background(), system.Cmd{Argv: []string{"bash", "-c", "printf '%s' ./patches/" + shellQuote(s)}, Dir: t.TempDir()})
		if err != nil || string(out) != "./patches/"+s {
			t.Errorf("bash reads shellQuote(%q) = %s as %q, %v", s, shellQuote(s), out, err)
		}
	}
}

func TestSourceEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env.sh")
	text := "export NEW='a\nb' CC=\"$kernelver-cc\"\nHIDDEN=x\nunset GONE\necho noise\nread line\nexport PATH=$PATH:/opt/bin\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := sourceEnvironment(context.Background(), system.NewRunner(system.Host{}), file, map[string]string{"kernelver": "6.1", "GONE": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if got["NEW"] != "a\nb" || got["CC"] != "6.1-cc" || !strings.HasSuffix(got["PATH"], ":/opt/bin") {
		t.Errorf("the environment is %q", got)
	}
	for _, name := range []string{"HIDDEN", "GONE", "PWD", "_", "SHLVL", "OLDPWD"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s=%q came along", name, v)
		}
	}
}
