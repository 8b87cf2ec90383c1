package system

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"dkms/pkg/exit"
)

// deadly are the signals that ask a program to stop.
var deadly = []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// Interrupts returns a context that a signal to stop ends, and a function that
// gives these signals their default effect again. A signal that is ignored when
// the program starts stays ignored, as nohup(1) requires.
func Interrupts() (ctx context.Context, stop context.CancelFunc) {
	var heeded []os.Signal
	for _, s := range deadly {
		if !signal.Ignored(s) {
			heeded = append(heeded, s)
		}
	}
	if len(heeded) == 0 { // NotifyContext without signals would catch every signal
		return context.WithCancel(context.Background())
	}
	return signal.NotifyContext(context.Background(), heeded...)
}

// Status is the exit status of a program whose work ended with code. If code is
// a failure and a signal has ended ctx, Status is the status by which shells
// report that signal.
func Status(ctx context.Context, code exit.Code) exit.Code {
	cause := context.Cause(ctx)
	if code == exit.OK || cause == nil {
		return code
	}
	i := slices.IndexFunc(deadly, func(s syscall.Signal) bool { return strings.HasPrefix(cause.Error(), s.String()+" ") })
	if i < 0 {
		return code
	}
	return exit.Code(128 + int(deadly[i]))
}
