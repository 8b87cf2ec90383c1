package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInterrupts has a program of its own killed: with the context in use it
// ends by itself, and without it by the signal.
func TestInterrupts(t *testing.T) {
	if mode := os.Getenv("INTERRUPTS"); mode != "" {
		ctx, stop := Interrupts()
		defer stop()
		if ctx.Err() != nil || context.Cause(ctx) != nil || ctx.Value("key") != nil {
			t.Error("it has ended before it began")
		}
		if mode == "waiting" {
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			syscall.Kill(os.Getpid(), syscall.SIGTERM)
			<-derived.Done()
			fmt.Printf("cause: %v, %v, %v\n", context.Cause(ctx), context.Cause(derived), ctx.Err())
			return
		}
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
		unix.Poll(nil, 5000) // until the signal arrives
		os.Exit(3)
	}
	run := func(mode string) (string, error) {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestInterrupts$")
		cmd.Env = append(os.Environ(), "INTERRUPTS="+mode)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("waiting"); err != nil || !strings.Contains(out, "cause: terminated signal received, terminated signal received, context canceled") {
		t.Errorf("with somebody who waits: %v\n%s", err, out)
	}
	_, err := run("not waiting")
	exited, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exited.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("with nobody who waits: %v; want death by SIGTERM", err)
	}
}
