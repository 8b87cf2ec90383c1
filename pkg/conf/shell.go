package conf

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"dkms/pkg/system"
	"golang.org/x/sys/unix"
)

//go:embed eval.bash
var evalScript []byte

const (
	// defaultLimit is how long one configuration may take.
	defaultLimit = 30 * time.Second
	// maxText and maxValues bound what is read from a file and from bash.
	maxText   = 1 << 20
	maxValues = 1 << 20
	// maxStderr is how much of what a file complains is kept.
	maxStderr = 16 << 10
	// nobody is the user and group that evaluate on behalf of root where
	// there are no jails; in one they are the user of this number.
	nobody, stranger = 65534, 15
)

// shell is one bash process that evaluates configurations one after the
// other. It is started when it is needed first, and again after a
// configuration had to be stopped, so that none takes another with it.
type shell struct {
	run   *system.Runner
	uid   int
	names []string
	limit time.Duration
	// show are directories that configurations may look into, wherever they
	// are.
	show []string
	proc *process
}

// process is a running bash and what leads to it.
type process struct {
	stop context.CancelFunc
	done chan struct{} // closed when bash has ended
	err  error         // how it ended; valid once done is closed

	contained bool // in a process namespace of its own

	requests *os.File
	acks     *os.File
	lines    *bufio.Reader
	// Plain memory files instead of pipes: nothing that a configuration
	// leaves running in the background can keep a reader of them waiting.
	text, values, stderr *os.File
}

// start makes sure that bash runs.
func (s *shell) start(ctx context.Context) error {
	if s.proc != nil {
		return nil
	}
	var err error
	for _, c := range s.confinements() {
		if s.proc, err = s.launch(ctx, c); err == nil {
			return nil
		}
		s.proc = nil
		_, jail := errors.AsType[*system.JailError](err)
		if !jail && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSPC) {
			return err
		}
	}
	// EINVAL from the last one: the user namespace maps no such user, so
	// that root here is an ordinary user anyway.
	if s.uid == 0 && errors.Is(err, unix.EINVAL) {
		s.proc, err = s.launch(ctx, confinement{})
	}
	return err
}

// confinement is a way to keep bash from doing anything but to evaluate.
type confinement struct {
	jail *system.Jail
	attr *syscall.SysProcAttr
}

// contains tells whether everything that bash starts ends with it, and cannot
// kill the shell of the others.
func (c confinement) contains() bool {
	return c.jail != nil || c.attr != nil && c.attr.Cloneflags&unix.CLONE_NEWPID != 0
}

// confinements are the ways to start bash, the best first.
func (s *shell) confinements() []confinement {
	if s.uid != 0 {
		return []confinement{{}}
	}
	user := &syscall.Credential{Uid: nobody, Gid: nobody}
	return []confinement{
		{jail: &system.Jail{UID: system.Stranger(stranger), Show: s.show}},
		// Without a jail, a session of its own still keeps bash from the terminal.
		{attr: &syscall.SysProcAttr{Setsid: true, Credential: user, Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWPID}},
		{attr: &syscall.SysProcAttr{Setsid: true, Credential: user, Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWIPC}},
		{attr: &syscall.SysProcAttr{Setsid: true, Credential: user}},
		{attr: &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true}}},
	}
}

func (s *shell) launch(ctx context.Context, c confinement) (*process, error) {
	p := &process{done: make(chan struct{}), contained: c.contains()}
	inner, err := p.open()
	if err == nil {
		err = rewrite(p.text, slices.Concat([]byte("readonly -a __dkms_names=("+strings.Join(s.names, " ")+")\n"), evalScript))
	}
	if err != nil {
		closeAll(inner)
		p.closeFiles()
		return nil, fmt.Errorf("bash: %w", err)
	}
	ctx, p.stop = context.WithCancel(ctx)
	cmd := system.Cmd{
		// The script is not an argument, so that what is traced stays readable.
		Argv:       []string{"bash", "-c", `mapfile -u 3; eval "${MAPFILE[@]}"; __dkms_serve`, "dkms"},
		Stdin:      inner[0],
		Stdout:     inner[1],
		Stderr:     p.stderr,
		ExtraFiles: []*os.File{p.text, p.values},
		Attr:       c.attr,
		Jail:       c.jail,
		EndGroup:   true,
	}
	go func() {
		p.err = s.run.Run(ctx, cmd)
		close(p.done) // before the end of file that the next line causes
		closeAll(inner)
		p.acks.SetReadDeadline(time.Unix(1, 0)) // wakes whoever waits for an answer
	}()
	line, err := p.answer(time.Now().Add(s.limit))
	if err == nil && line != "ready" {
		err = fmt.Errorf("bash: unexpected answer %q", line)
	}
	if err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// open makes the files of p and returns the two ends that are bash's.
func (p *process) open() (inner []*os.File, err error) {
	stdin, requests, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.requests = requests
	inner = append(inner, stdin)
	acks, stdout, err := os.Pipe()
	if err != nil {
		return inner, err
	}
	p.acks, p.lines = acks, bufio.NewReader(acks)
	inner = append(inner, stdout)
	for _, f := range []**os.File{&p.text, &p.values, &p.stderr} {
		if *f, err = memoryFile(); err != nil {
			return inner, err
		}
	}
	// Readers may open the text again, but not to write.
	if err := p.text.Chmod(0o444); err != nil {
		return inner, err
	}
	for _, f := range []*os.File{p.values, p.stderr} {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_RDWR|unix.O_APPEND); err != nil {
			return inner, err
		}
	}
	return inner, nil
}

func memoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("dkms", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("dkms", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "memfd:dkms"), nil
}

// rewrite replaces the content of f and goes back to its start, for bash too,
// which shares the position.
func rewrite(f *os.File, data []byte) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	_, err := f.Seek(0, 0)
	return err
}

// drain returns up to limit bytes of f and whether there were more, and
// empties it.
func drain(f *os.File, limit int64) (data []byte, more bool, err error) {
	st, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	data = make([]byte, min(st.Size(), limit))
	n, err := f.ReadAt(data, 0)
	if n < len(data) {
		return nil, false, err
	}
	return data, st.Size() > limit, f.Truncate(0)
}

// errEnded says that bash ended without being told to.
var errEnded = errors.New("ends the shell that reads it")

// answer waits for one line.
func (p *process) answer(deadline time.Time) (string, error) {
	p.acks.SetReadDeadline(deadline)
	select {
	case <-p.done:
		return "", p.ended()
	default:
	}
	line, err := p.lines.ReadString('\n')
	if err == nil {
		return strings.TrimSuffix(line, "\n"), nil
	}
	select {
	case <-p.done:
		return "", p.ended()
	default:
		return "", err
	}
}

func (p *process) ended() error {
	var exitErr *system.ExitError
	if p.err == nil || errors.As(p.err, &exitErr) {
		return errEnded
	}
	return p.err
}

// send makes one or more requests.
func (p *process) send(fields ...string) error {
	var b bytes.Buffer
	for _, f := range fields {
		b.WriteString(f)
		b.WriteByte(0)
	}
	_, err := p.requests.Write(b.Bytes())
	return err
}

// end stops bash, whatever it does, and waits for it.
func (p *process) end() {
	if p.contained {
		// The first process of a namespace obeys no SIGTERM, but ends with
		// its input, and everything else in the namespace with it.
		p.requests.Close()
	}
	// Otherwise bash has to live until the signal, for it is the signal that
	// goes to what configurations have left in the background as well.
	p.stop()
	<-p.done
	p.closeFiles()
}

func (p *process) closeFiles() {
	closeAll([]*os.File{p.requests, p.acks, p.text, p.values, p.stderr})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// close ends the shell; it may be used again afterwards.
func (s *shell) close() {
	if s.proc == nil {
		return
	}
	s.proc.end()
	s.proc = nil
}
