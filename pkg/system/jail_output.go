package system

import (
	"io"
	"os"
	"os/exec"
	"reflect"
	"sync"
	"syscall"
)

// With a descriptor of a terminal, a program can type into the terminal, and
// with one of a file, it can truncate the file. pipes therefore puts pipes
// between the program and the files for its output. The program gets pipes
// directly, and files without a name, which exist only for the program. The
// caller calls copied when the program has ended or did not start; copied
// returns when all output has arrived.
func (j *Jail) pipes(cmd *exec.Cmd) (copied func(), err error) {
	var ends []*os.File
	var under sync.WaitGroup
	copied = func() {
		for _, f := range ends {
			f.Close()
		}
		under.Wait()
	}
	through := func(to io.Writer) (io.Writer, error) {
		if f, ok := to.(*os.File); to == nil || ok && f != nil && anonymous(f) {
			return to, nil
		}
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		ends = append(ends, w)
		under.Go(func() {
			defer r.Close()
			io.Copy(to, r)
			io.Copy(io.Discard, r) // the program must not block when nobody can write any more
		})
		// Otherwise the program could not open /dev/stderr.
		return w, w.Chown(j.UID, j.UID)
	}
	stdout, stderr := cmd.Stdout, cmd.Stderr
	if cmd.Stdout, err = through(stdout); err == nil && sameWriter(stdout, stderr) {
		cmd.Stderr = cmd.Stdout
	} else if err == nil {
		cmd.Stderr, err = through(stderr)
	}
	if err != nil {
		copied()
	}
	return copied, err
}

// anonymous recognizes pipes and files without a name.
func anonymous(f *os.File) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return st.Mode()&os.ModeNamedPipe != 0 || ok && st.Mode().IsRegular() && sys.Nlink == 0
}

// sameWriter tells whether two writers are the same, if they can be compared.
func sameWriter(a, b io.Writer) bool {
	return a != nil && b != nil && reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}
