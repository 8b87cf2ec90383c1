package system

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a new terminal: what is typed into master is read from slave.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// TestRunnerTerminal has a program ask for a password at a terminal, which
// stops programs of other process groups that do so.
func TestRunnerTerminal(t *testing.T) {
	if os.Getenv("AT_TERMINAL") != "" {
		c := sh(`stty -echo && printf 'password: ' && read -r x && stty echo && echo "got $x"`)
		c.Terminal, c.Stdin, c.Stdout, c.Stderr = true, os.Stdin, os.Stdout, os.Stderr
		if err := testRunner().Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return
	}
	master, slave := terminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestRunnerTerminal$")
	cmd.Env = append(os.Environ(), "AT_TERMINAL=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	shown := make(chan string, 1)
	go func() {
		in := bufio.NewReader(master)
		question, _ := in.ReadString(':')
		fmt.Fprintln(master, "open sesame")
		answer, _ := in.ReadString('\n')
		for err := error(nil); err == nil; _, err = in.ReadByte() {
		}
		shown <- question + answer
	}()
	err := cmd.Wait()
	if text := <-shown; err != nil || !strings.HasSuffix(strings.TrimSpace(text), "got open sesame") {
		t.Errorf("at the terminal: %q, %v; want the password to be read", text, err)
	}
}

// TestRunnerTerminalCancel: the program is ended, and not what runs it.
func TestRunnerTerminalCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	out := &pidWriter{then: cancel}
	c := sh(`echo $$; exec sleep 1000`)
	c.Stdout, c.Terminal, c.EndGroup = out, true, true
	if err := testRunner().Run(ctx, c); err != context.Canceled {
		t.Errorf("Run = %v; want %v", err, context.Canceled)
	}
	gone(t, out.pid)
}
