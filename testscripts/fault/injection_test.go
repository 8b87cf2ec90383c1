package fault

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// injection is what happens to a traced program at its system calls that
// change something below a directory, which are its points. They are counted
// over all threads; strace, which counts for every thread, cannot hit the same
// one twice in a Go program.
type injection struct {
	// Below is the directory; calls that change other things do not count.
	Below string
	// At is the point, from 1; 0 only counts.
	At int
	// Errno is how the call fails. Without one the program is killed as it
	// enters the call.
	Errno syscall.Errno
}

// traced is how a traced program fared.
type traced struct {
	Status unix.WaitStatus
	// Points counts the calls that changed something.
	Points int
	// Hit describes the call that was interfered with, or is empty.
	Hit string
}

// traceMain is the program that traces another: the injection comes by the
// environment, the other program by the arguments.
func traceMain() int {
	var inj injection
	err := json.Unmarshal([]byte(os.Getenv("FAULT_INJECTION")), &inj)
	os.Unsetenv("FAULT_INJECTION")
	if err == nil {
		os.Setenv("FAULT_PROGRAM", "dkms")
		err = trace(inj, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tracer:", err)
		return 1
	}
	return 0
}
