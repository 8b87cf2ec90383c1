package system

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func testRunner() *Runner { return NewRunner(Host{}) }

func sh(script string, args ...string) Cmd {
	return Cmd{Argv: append([]string{"sh", "-c", script, "sh"}, args...)}
}

// environment is what a program started by a runner for h sees.
func environment(t *testing.T, h Host, add map[string]string) map[string]string {
	t.Helper()
	out, err := NewRunner(h).Output(context.Background(), Cmd{Argv: []string{"env", "-0"}, Env: add})
	if err != nil {
		t.Fatal(err)
	}
	return EnvMap(strings.Split(string(out), "\x00"))
}

// The names are spelled out: the list is part of the interface.
func TestRunnerEnvironment(t *testing.T) {
	may := []string{
		"TMPDIR", "LANG", "LC_CTYPE", "TERM", "NO_COLOR", "CCACHE_DIR", "DISTCC_HOSTS", "ICECC_VERSION", "SOURCE_DATE_EPOCH",
	}
	caller := map[string]string{}
	for _, name := range append([]string{
		"PATH", "HOME", "SHELL", "USER", "LOGNAME", "LC_ALL", "PWD", "ARCH", "CC", "CFLAGS", "LD", "LDFLAGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS",
		"CROSS_COMPILE", "KBUILD_OUTPUT", "KBUILD_EXTMOD", "sub_make_done", "BASH_ENV", "ENV", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "IFS",
		"NOTIFY_SOCKET", "LISTEN_FDS", "DKMS_DIRECTIVE", "MODULES_SIGN_KEY", "KBUILD_SIGN_PIN", "GCC_EXEC_PREFIX", "CPATH", "PERL5LIB", "PYTHONPATH",
		"LC_COLLATE", "LC_MESSAGES", "FEATURES", "BASH_FUNC_ls%%", "DEBIAN_FRONTEND", "INSTALLKERNEL_VERBOSE", "V", "M", "O",
	}, may...) {
		caller[name] = "callers"
	}
	got := environment(t, Host{Env: caller}, nil)
	for name, value := range got {
		if value == "callers" && !slices.Contains(may, name) {
			t.Errorf("%s reaches programs", name)
		}
	}
	for _, name := range may {
		if got[name] != "callers" {
			t.Errorf("%s does not reach programs", name)
		}
	}
	fixed := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "SHELL": "/bin/sh",
		"USER": "root", "LOGNAME": "root", "LC_ALL": "C", "PWD": "/",
	}
	for name, value := range fixed {
		if got[name] != value {
			t.Errorf("%s=%q; want %q", name, got[name], value)
		}
	}
	if len(got) != len(may)+len(fixed) {
		t.Errorf("programs see %v; want %d names", got, len(may)+len(fixed))
	}
}

func TestRunnerEnvironmentOfOthers(t *testing.T) {
	got := environment(t, Host{UID: 1000, Env: map[string]string{"HOME": "/home/me", "USER": "me", "LOGNAME": ""}}, nil)
	if got["HOME"] != "/home/me" || got["USER"] != "me" || got["LOGNAME"] != "root" {
		t.Errorf("HOME, USER, LOGNAME = %q, %q, %q; want /home/me, me, root", got["HOME"], got["USER"], got["LOGNAME"])
	}
	fake := map[string]string{"FAKECHROOT": "true", "FAKECHROOT_BASE": "/b", "LD_LIBRARY_PATH": "/none"}
	got = environment(t, Host{Env: fake}, nil)
	for name, value := range fake {
		if got[name] != value {
			t.Errorf("under fakechroot %s=%q; want %q", name, got[name], value)
		}
	}
	got = environment(t, Host{}, map[string]string{"LC_ALL": "C.UTF-8", "PWD": "/elsewhere", "NEW": "x y"})
	if got["LC_ALL"] != "C.UTF-8" || got["NEW"] != "x y" || got["PWD"] != "/" {
		t.Errorf("LC_ALL, NEW, PWD = %q, %q, %q; want C.UTF-8, x y, /", got["LC_ALL"], got["NEW"], got["PWD"])
	}
}

func TestRunnerStatus(t *testing.T) {
	tests := []struct {
		script string
		status int
		signal syscall.Signal
		text   string
	}{
		{"exit 0", 0, 0, ""},
		{"exit 1", 1, 0, "sh: exit status 1"},
		{"exit 77", 77, 0, "sh: exit status 77"},
		{"echo first >&2; echo last >&2; exit 3", 3, 0, "sh: exit status 3: last"},
		{"kill -KILL $$", -1, syscall.SIGKILL, "sh: ended by signal: killed"},
		{"kill -SEGV $$", -1, syscall.SIGSEGV, "sh: ended by signal: segmentation fault"},
	}
	for _, test := range tests {
		err := testRunner().Run(context.Background(), sh(test.script))
		if test.status == 0 {
			if err != nil {
				t.Errorf("Run(%s) = %v; want nil", test.script, err)
			}
			continue
		}
		e, ok := errors.AsType[*ExitError](err)
		if !ok || e.Status != test.status || e.Signal != test.signal || e.Error() != test.text {
			t.Errorf("Run(%s) = %#v; want status %d, signal %v, %q", test.script, err, test.status, test.signal, test.text)
		}
	}
}

func TestRunnerCannotStart(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plain"), "echo hi\n", 0o644)
	for _, name := range []string{"no-such-program-at-all", filepath.Join(dir, "plain"), filepath.Join(dir, "none"), dir} {
		err := testRunner().Run(context.Background(), Cmd{Argv: []string{name}})
		if _, status := errors.AsType[*ExitError](err); err == nil || status || !strings.Contains(err.Error(), name) {
			t.Errorf("Run(%s) = %v; want an error that names it", name, err)
		}
	}
	err := testRunner().Run(context.Background(), Cmd{Argv: []string{"true"}, Dir: filepath.Join(dir, "none")})
	if err == nil {
		t.Error("Run in a missing directory succeeded")
	}
	if r := testRunner(); r.Has("no-such-program-at-all") || !r.Has("sh") {
		t.Error("Has does not know what can be started")
	}
}

// The working directory of the caller is not searched, nor its PATH.
func TestRunnerPath(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "mine"), "#!/bin/sh\n", 0o755)
	t.Chdir(dir)
	r := NewRunner(Host{Env: map[string]string{"PATH": dir}})
	if r.Has("mine") {
		t.Error("the caller's PATH counts")
	}
	if err := r.Run(context.Background(), Cmd{Argv: []string{"mine"}, Dir: dir}); err == nil {
		t.Error("the working directory counts")
	}
	if err := r.Run(context.Background(), Cmd{Argv: []string{"mine"}, Env: map[string]string{"PATH": dir}}); err != nil {
		t.Errorf("the PATH of the command does not count: %v", err)
	}
}

func TestRunnerInputOutput(t *testing.T) {
	var stdout, stderr, trace bytes.Buffer
	r := testRunner()
	r.Trace = &trace
	dir := t.TempDir()
	c := sh(`pwd; echo "$PWD"; cat; echo bad >&2`, "arg")
	c.Dir, c.Stdin, c.Stdout, c.Stderr = dir, strings.NewReader("in\n"), &stdout, &stderr
	if err := r.Run(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if got, want := stdout.String(), dir+"\n"+dir+"\nin\n"; got != want {
		t.Errorf("stdout = %q; want %q", got, want)
	}
	if stderr.String() != "bad\n" {
		t.Errorf("stderr = %q; want bad", stderr.String())
	}
	if got, want := trace.String(), "+ "+strings.Join(c.Argv, " ")+"\n"; got != want {
		t.Errorf("trace = %q; want %q", got, want)
	}
	out, err := r.Output(context.Background(), sh("cat; echo x; exit 2"))
	if e, ok := errors.AsType[*ExitError](err); string(out) != "x\n" || !ok || e.Status != 2 {
		t.Errorf("Output = %q, %v; want what was written, and the status", out, err)
	}
}

func TestRunnerExtraFiles(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := sh("echo third >&3")
	c.ExtraFiles = []*os.File{w}
	err = testRunner().Run(context.Background(), c)
	w.Close()
	got, _ := io.ReadAll(r)
	if err != nil || string(got) != "third\n" {
		t.Errorf("descriptor 3 got %q, %v", got, err)
	}
}

// Only the end of a long complaint is kept.
func TestRunnerStderrTail(t *testing.T) {
	err := testRunner().Run(context.Background(), sh("yes long | head -c 100000 >&2; echo; echo the end >&2; exit 1"))
	e, ok := errors.AsType[*ExitError](err)
	if !ok || len(e.Stderr) > tailSize || !strings.HasSuffix(e.Error(), "exit status 1: the end") {
		t.Errorf("Run = %v with %d bytes", err, len(e.Stderr))
	}
}

func TestRunnerContextOver(t *testing.T) {
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	file := filepath.Join(t.TempDir(), "made")
	if err := testRunner().Run(ctx, Cmd{Argv: []string{"touch", file}}); !errors.Is(err, stop) {
		t.Errorf("Run = %v; want %v", err, stop)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program was started")
	}
}

// pidWriter takes the first line, which is a process id, and calls then.
type pidWriter struct {
	buf  bytes.Buffer
	pid  int
	then func()
}

func (w *pidWriter) Write(p []byte) (int, error) {
	w.buf.Write(p)
	if line, _, ok := strings.Cut(w.buf.String(), "\n"); ok && w.pid == 0 {
		w.pid, _ = strconv.Atoi(line)
		w.then()
	}
	return len(p), nil
}

// gone waits until a process has ended: it is killed by another one, and init
// may take its time to collect it.
func gone(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("process id %d", pid)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d is still running", pid)
}

// A cancelled program takes its whole process group with it, children that
// ignore SIGTERM too.
func TestRunnerCancelEndsGroup(t *testing.T) {
	t.Parallel()
	stop := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(context.Background())
	out := &pidWriter{then: func() { cancel(stop) }}
	c := sh(`(trap "" TERM; exec sleep 1000) & echo $!; wait`)
	c.Stdout = out
	start := time.Now()
	if err := testRunner().Run(ctx, c); !errors.Is(err, stop) {
		t.Errorf("Run = %v; want %v", err, stop)
	}
	gone(t, out.pid)
	if d := time.Since(start); d > 3*killDelay {
		t.Errorf("it took %v", d)
	}
}

func TestRunnerCancelStubborn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	out := &pidWriter{then: cancel}
	c := sh(`trap "" TERM; echo $$; while :; do sleep 1000; done`)
	c.Stdout = out
	if err := testRunner().Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v; want %v", err, context.Canceled)
	}
	gone(t, out.pid)
}

func TestRunnerEndGroup(t *testing.T) {
	// A file, so that nobody waits for the other end of a pipe.
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, end := range []bool{false, true} {
		if err := out.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		c := sh(`sleep 1000 & echo $!`)
		c.Stdout, c.Stderr, c.EndGroup = out, out, end
		if err := testRunner().Run(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(out.Name())
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		if end {
			gone(t, pid)
			continue
		}
		if syscall.Kill(pid, 0) != nil {
			t.Error("what a program leaves running was ended without EndGroup")
		}
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// A daemon that holds on to the output does not hold up the run, nor make a
// failure of it.
func TestRunnerPipeHeldOpen(t *testing.T) {
	t.Parallel()
	start := time.Now()
	out, err := testRunner().Output(context.Background(), sh(`sleep 1000 & echo $!`))
	if err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	if d := time.Since(start); d > 3*killDelay {
		t.Errorf("it took %v", d)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	if pid <= 1 || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Errorf("output is %q; want the id of a running process", out)
	}
}
