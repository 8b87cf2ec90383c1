package system

import (
	"context"
	"io"
	"os"
	"runtime/debug"
	"syscall"
)

// Process is the environment that a program is started with. The main function
// of each program takes a Process, so that tests can run it on a machine of
// their own.
type Process struct {
	Host Host
	// Name is the path by which the program was called, and Args are its
	// arguments.
	Name     string
	Args     []string
	In       io.Reader
	Out, Err io.Writer
}

// ThisProcess is the process that runs this program, on this machine.
func ThisProcess() Process {
	return Process{
		Host: ThisHost(os.Environ()), Name: os.Args[0], Args: os.Args[1:],
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
	}
}

// ErrFile is Err if that is a file, and nil otherwise.
func (p Process) ErrFile() *os.File {
	f, _ := p.Err.(*os.File)
	return f
}

// OutFile is Out if that is a file, and nil otherwise.
func (p Process) OutFile() *os.File {
	f, _ := p.Out.(*os.File)
	return f
}

// Begin sets the umask, so that new files get the modes that they ask for, and
// returns the context of the program, see [Interrupts]. Signals keep their
// effect until the process ends: giving it back takes longer than a short
// program does. The heap may grow to 20 MB before anything is freed, for the same
// reason.
func (p Process) Begin() context.Context {
	syscall.Umask(0o022)
	debug.SetGCPercent(400)
	ctx, _ := Interrupts()
	return ctx
}
