package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cmd is one program to start.
type Cmd struct {
	// Argv is the program and its arguments. A name without a slash is looked
	// up in the PATH of Env.
	Argv []string
	// Dir is the working directory; empty is "/".
	Dir string
	// Env is added to the runner's base environment and overrides it.
	Env map[string]string
	// Stdin is empty, and Stdout and Stderr are discarded, unless set.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// ExtraFiles are passed on as descriptors 3 and up.
	ExtraFiles []*os.File
	// EndGroup ends processes that the program leaves in its process group.
	EndGroup bool
	// Terminal is for a program that asks the person at the terminal. It stays
	// in the caller's process group, since a terminal stops processes of other
	// groups that read from it.
	Terminal bool
	// Attr adds credentials or namespaces; the runner sets the process group
	// itself.
	Attr *syscall.SysProcAttr
	// Jail confines the program. If that is impossible, the program is not
	// started, and the error is a [*JailError].
	Jail *Jail
	// Inside runs the program of the system itself, where the programs are
	// otherwise those of [Host].Tools.
	Inside bool
	// Idle gives the program only the time that nobody else wants.
	Idle bool
	// Started, if set, is called with the process ID of the program.
	Started func(pid int)
}

// Runner starts every program. Its zero value is not usable; see [NewRunner].
type Runner struct {
	// Trace, if set, gets each command line before it is started.
	Trace io.Writer
	// Machine is the architecture of the programs, as uname -m spells it.
	Machine string

	base  map[string]string
	tools *Tools
}

// killDelay is the time between SIGTERM and SIGKILL to the process group.
const killDelay = 5 * time.Second

// programPath is the PATH in which programs are looked up, instead of the
// caller's: hooks and package scripts run with somebody else's PATH.
const programPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// passed are the variables that programs get unchanged from the caller. All
// others are removed: a stray sub_make_done makes Kbuild delete files of the
// kernel headers.
var passed = []string{
	"TMPDIR", "LANG", "LC_CTYPE", "TERM", "NO_COLOR",
	"CCACHE_DIR", "DISTCC_HOSTS", "ICECC_VERSION", "SOURCE_DATE_EPOCH",
	"FAKECHROOT", "FAKECHROOT_BASE", "LD_PRELOAD", "LD_LIBRARY_PATH",
}

// NewRunner returns a runner for h. The base environment of its programs is an
// allow-list: a fixed PATH, root's HOME, the C locale for output that is sorted
// and parsed, and a few harmless variables of the caller.
func NewRunner(h Host) *Runner {
	base := map[string]string{
		"PATH":    programPath,
		"HOME":    "/root",
		"SHELL":   "/bin/sh",
		"USER":    "root",
		"LOGNAME": "root",
		"LC_ALL":  "C",
	}
	if h.UID != 0 {
		for _, name := range []string{"HOME", "USER", "LOGNAME"} {
			if v := h.Env[name]; v != "" {
				base[name] = v
			}
		}
	}
	for _, name := range passed {
		if name == "LD_PRELOAD" || name == "LD_LIBRARY_PATH" {
			if h.Env["FAKECHROOT"] != "true" {
				continue
			}
		}
		if v := h.Env[name]; v != "" {
			base[name] = v
		}
	}
	return &Runner{base: base, tools: h.Tools, Machine: h.Machine}
}

// ExitError says that a program ended with a status other than 0.
type ExitError struct {
	Argv []string
	// Status is the exit status, or -1 if a signal ended the program.
	Status int
	// Signal is the signal that ended the program, if one did.
	Signal syscall.Signal
	// Stderr is the end of the standard error, if not redirected.
	Stderr string
}

// How says how the program ended, without its name.
func (e *ExitError) How() string {
	if e.Status < 0 {
		return "ended by signal: " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

func (e *ExitError) Error() string {
	msg := filepath.Base(e.Argv[0]) + ": " + e.How()
	if line := lastLine(e.Stderr); line != "" {
		msg += ": " + line
	}
	return msg
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// Run starts c in its own process group, unless c is for the terminal, and
// waits for it. When ctx ends first, the whole group gets SIGTERM and, after
// killDelay, SIGKILL. A status other than 0 is an [*ExitError].
func (r *Runner) Run(ctx context.Context, c Cmd) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	env := maps.Clone(r.base)
	if c.Jail != nil {
		delete(env, "TMPDIR") // the caller's directory does not exist in the jail
	}
	maps.Copy(env, c.Env)
	tools := r.tools
	if c.Inside {
		tools = nil
	}
	file, err := tools.lookPath(c.Argv[0], env["PATH"])
	if err != nil {
		return err
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	env["PWD"] = dir // make takes $(PWD) from the environment
	cmd := &exec.Cmd{
		Path:        file,
		Args:        c.Argv,
		Dir:         dir,
		Env:         envList(env),
		Stdin:       c.Stdin,
		Stdout:      c.Stdout,
		Stderr:      c.Stderr,
		ExtraFiles:  c.ExtraFiles,
		SysProcAttr: &syscall.SysProcAttr{},
		WaitDelay:   killDelay,
	}
	if c.Attr != nil {
		*cmd.SysProcAttr = *c.Attr
	}
	// The leader of a session already leads a process group.
	cmd.SysProcAttr.Setpgid = !c.Terminal && !cmd.SysProcAttr.Setsid
	closeInherited()
	var said tail
	if cmd.Stderr == nil {
		cmd.Stderr = &said
	}
	if r.Trace != nil {
		fmt.Fprintf(r.Trace, "+ %s\n", strings.Join(c.Argv, " "))
	}
	copied := func() {}
	if c.Jail != nil {
		err = c.Jail.Limits.wrap(cmd, tools)
		if err == nil {
			copied, err = c.Jail.pipes(cmd)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Argv[0], err)
		}
	}
	if tools != nil && c.Jail == nil {
		cmd.SysProcAttr.Chroot = procFD(tools.root)
	}
	ended, err := c.start(cmd, tools)
	if err != nil {
		copied()
		return fmt.Errorf("%s: %w", c.Argv[0], err)
	}
	defer ended()
	if c.Started != nil {
		c.Started(cmd.Process.Pid)
	}
	err = r.wait(ctx, cmd, &said, c)
	copied()
	return err
}

// closeInherited marks the descriptors that this process inherited from its
// caller, so that programs do not get them: they may refer to anything.
func closeInherited() {
	const first = 3
	if unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	list, _ := os.ReadDir("/proc/self/fd") // before Linux 5.11
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
}

// start starts cmd. A program that is confined or idle is started on its own
// thread. The caller calls ended when cmd has ended.
func (c *Cmd) start(cmd *exec.Cmd, tools *Tools) (ended func(), err error) {
	if c.Jail == nil && !c.Idle {
		return func() {}, cmd.Start()
	}
	started, done := make(chan error, 1), make(chan struct{})
	onThread(func() {
		var err error
		if c.Idle {
			cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid = false, true
			err = idle()
		}
		if c.Jail != nil && err == nil {
			c.Jail.attributes(cmd.SysProcAttr)
			err = c.Jail.enter(tools)
		}
		if err == nil {
			err = cmd.Start()
			if c.Jail != nil && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC)) {
				err = &JailError{"namespaces", err}
			}
		}
		started <- err
		if err == nil {
			<-done // the program would end together with its thread
		}
	})
	err = <-started
	if err == nil && c.Idle {
		// Otherwise cmd would yield only to its own session, see sched(7).
		os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte("19"), 0)
	}
	return func() { close(done) }, err
}

// onThread runs do on a new thread that ends with do. That thread is never the
// first thread, whose mounts and root other processes see in /proc.
func onThread(do func()) {
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends
		if unix.Gettid() != unix.Getpid() {
			do()
			return
		}
		ended := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			do()
			close(ended)
		}()
		<-ended
		runtime.UnlockOSThread()
	}()
}

func (r *Runner) wait(ctx context.Context, cmd *exec.Cmd, said *tail, c Cmd) error {
	whom := cmd.Process.Pid
	if cmd.SysProcAttr.Setpgid || cmd.SysProcAttr.Setsid {
		whom = -whom // a negative number is the group
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			if c.Jail != nil {
				// The first process of a namespace ignores SIGTERM, and its end
				// kills all others.
				syscall.Kill(cmd.Process.Pid, syscall.SIGKILL)
				return
			}
			end(whom, done)
		case <-done:
		}
	}()
	err := cmd.Wait()
	close(done)
	<-stopped
	if c.EndGroup && whom < 0 {
		syscall.Kill(whom, syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exitErr *exec.ExitError
	if errors.As(err, &exitErr) {
		e := &ExitError{Argv: c.Argv, Status: exitErr.ExitCode(), Stderr: said.String()}
		if ws, ok := exitErr.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.Signal = ws.Signal()
		}
		return e
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it succeeded; processes that it left hold its output open
	}
	return err
}

// end ends a process, or the process group of a negative number, with SIGTERM
// first, and leaves no process of it running.
func end(whom int, done <-chan struct{}) {
	syscall.Kill(whom, syscall.SIGTERM)
	timer := time.NewTimer(killDelay)
	defer timer.Stop()
	select {
	case <-done:
		if whom > 0 {
			return // another process may have the number by now
		}
	case <-timer.C:
	}
	syscall.Kill(whom, syscall.SIGKILL)
}

// Output runs c and returns its standard output.
func (r *Runner) Output(ctx context.Context, c Cmd) ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := r.Run(ctx, c)
	return out.Bytes(), err
}

func envList(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// tail keeps the last bytes written to it.
type tail struct{ buf []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.buf) }
