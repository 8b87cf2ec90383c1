package system

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
)

// TestInterrupts has a program of its own interrupted: the status tells which
// signal it was, and a signal that was ignored from the start stays so.
func TestInterrupts(t *testing.T) {
	if signal := os.Getenv("INTERRUPTED_BY"); signal != "" {
		ctx, stop := Interrupts()
		defer stop()
		if ctx.Err() != nil || context.Cause(ctx) != nil || Status(ctx, exit.MakeFailed) != exit.MakeFailed {
			t.Error("it has ended before it began")
		}
		syscall.Kill(os.Getpid(), unix.SignalNum(signal))
		if os.Getenv("IGNORED") != "" { // what comes is the second one
			syscall.Kill(os.Getpid(), syscall.SIGTERM)
		}
		<-ctx.Done()
		fmt.Printf("status %d, %d\n", Status(ctx, exit.MakeFailed), Status(ctx, exit.OK))
		return
	}
	run := func(signal, ignored string) string {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		// A shell without job control ignores SIGINT in what it starts in the
		// background, which may be these tests.
		cmd := exec.Command("env", "--default-signal", "sh", "-c", ignored+`exec "$0" "$@"`, exe, "-test.run=^TestInterrupts$")
		cmd.Env = append(os.Environ(), "INTERRUPTED_BY="+signal, "IGNORED="+ignored)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", signal, err)
		}
		return string(out)
	}
	for signal, want := range map[string]string{"SIGINT": "status 130, 0\n", "SIGTERM": "status 143, 0\n", "SIGHUP": "status 129, 0\n"} {
		if out := run(signal, ""); !strings.Contains(out, want) {
			t.Errorf("%s: %s; want %s", signal, out, want)
		}
	}
	if out := run("SIGHUP", "trap '' HUP; "); !strings.Contains(out, "status 143, 0\n") {
		t.Errorf("SIGHUP that is ignored: %s; want the status of SIGTERM", out)
	}
}

// A context that ends for another reason says nothing of signals.
func TestStatusWithoutSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Status(ctx, exit.MakeFailed); got != exit.MakeFailed {
		t.Errorf("Status = %d; want %d", got, exit.MakeFailed)
	}
}
