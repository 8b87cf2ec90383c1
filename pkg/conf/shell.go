package conf

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	// MaxText bounds the text of a file, maxValues the output of bash.
	MaxText   = 1 << 20
	maxValues = 1 << 20
	// maxStderr bounds how much of a file's standard error is kept.
	maxStderr = 16 << 10
	// nobody is the user and group of evaluations that root starts where root
	// cannot change to any other user.
	nobody = 65534
	// firstUser and users give the range of users for evaluations: half of the
	// range that systemd leaves unused (systemd.io/UIDS-GIDS). Builds use the
	// other half.
	firstUser, users = 0x78000000, 1 << 26
)

// shell evaluates configurations. Every evaluation has its own bash process,
// user and file descriptors, so that a process which one file leaves running
// cannot influence another evaluation. Several goroutines may use a shell.
type shell struct {
	run   *system.Runner
	uid   int
	names []string
	limit time.Duration
	// show are directories that all configurations may read, wherever the
	// directories are.
	show []string
	// first is the index of the best confinement that this system is known to
	// allow.
	first atomic.Int32
	// Evaluations that share a user with other processes hold alone.
	alone sync.Mutex
}

// job is one evaluation by bash.
type job struct {
	setting
	// op is the operation of eval.bash: read or assign.
	op string
	// values are set before the evaluation, like the variables of the setting.
	values values
	src    source
}

// outcome is the result of one evaluation: rows of values, and the messages.
type outcome struct {
	rows   []row
	whole  bool // the evaluation reached its end
	stderr []byte
	// second is the result of the second evaluation, if that evaluation reached
	// its end.
	second []row
}

// confinement is a way to keep bash from doing anything but evaluating.
type confinement struct {
	jail *system.Jail
	attr *syscall.SysProcAttr
	// shared says that the user may own other processes.
	shared bool
}

// contained reports whether every process that bash starts ends with bash.
func (c confinement) contained() bool {
	return c.jail != nil || c.attr != nil && c.attr.Cloneflags&unix.CLONE_NEWPID != 0
}

// confinements returns the ways to start bash for one evaluation, the best
// first.
func (s *shell) confinements(show ...string) []confinement {
	if s.uid != 0 {
		return []confinement{{shared: true}}
	}
	// A random user also differs from the users of other programs that choose
	// one in the same way.
	user := firstUser + rand.IntN(users)
	const apart = unix.CLONE_NEWNET | unix.CLONE_NEWIPC
	list := []confinement{{jail: &system.Jail{UID: user, Show: slices.Concat(s.show, show)}}}
	// In a user namespace, a user with that number may not exist.
	for _, uid := range []int{user, nobody} {
		for _, flags := range []uintptr{apart | unix.CLONE_NEWPID, apart, 0} {
			list = append(list, confinement{attr: as(uid, flags), shared: uid == nobody})
		}
	}
	limited := as(nobody, 0)
	limited.Credential.NoSetGroups = true
	// Where not even nobody exists, root has no special rights anyway.
	return append(list, confinement{attr: limited, shared: true}, confinement{shared: true})
}

// as runs bash as another user, in its own session without a terminal.
func as(uid int, flags uintptr) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}, Cloneflags: flags}
}

// evaluate runs bash for j and waits until all of its processes have ended.
func (s *shell) evaluate(ctx context.Context, j job) (outcome, error) {
	list := s.confinements(j.show...)
	for i := int(s.first.Load()); ; i++ {
		out, err := s.evaluateIn(ctx, list[i], j)
		if err == nil || i == len(list)-1 || !impossible(err) {
			return out, err
		}
		s.first.Store(int32(i + 1))
	}
}

// impossible reports whether this system does not allow a confinement.
func impossible(err error) bool {
	_, jail := errors.AsType[*system.JailError](err)
	return jail || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC)
}

func (s *shell) evaluateIn(ctx context.Context, c confinement, j job) (out outcome, err error) {
	if c.shared && s.uid == 0 {
		s.alone.Lock()
		defer s.alone.Unlock()
	}
	var files memoryFiles
	defer files.close()
	script, text := files.add(s.script(j)), files.add(j.src.text)
	rows, text2, second, stderr := files.add(nil), files.add(nil), files.add(nil), files.add(nil)
	if files.err != nil {
		return out, fmt.Errorf("bash: %w", files.err)
	}
	cmd := system.Cmd{
		// The script is not an argument, so that traces stay readable.
		Argv:       []string{"bash", "-c", `mapfile -d "" -u 3; eval "$MAPFILE"; __dkms_main "$@"`, "dkms", j.op, j.src.path},
		Env:        j.env,
		Stderr:     stderr,
		ExtraFiles: []*os.File{script, text, rows, text2, second},
		Attr:       c.attr,
		Jail:       c.jail,
		EndGroup:   true,
	}
	err = s.run.Run(ctx, cmd)
	if !c.contained() && !c.shared {
		s.sweep(c)
	}
	// The closing row tells more reliably than the exit status whether bash
	// reached the end.
	if _, ok := errors.AsType[*system.ExitError](err); err != nil && !ok {
		return out, err
	}
	return collect(rows, second, stderr)
}

// sweep kills the background processes of an evaluation by its user, which owns
// no other processes. kill fails only if the system has no other process at
// all, so the loop usually runs to its end.
func (s *shell) sweep(c confinement) {
	const all = "for ((i = 0; i < 1000; i++)); do kill -9 -1 || break; done 2>/dev/null"
	s.run.Run(context.Background(), system.Cmd{Argv: []string{"bash", "-c", all}, Attr: c.attr})
}

// collect reads the output of an evaluation.
func collect(first, second, stderr *os.File) (out outcome, err error) {
	if out.rows, out.whole, err = rowsOf(first); err != nil {
		return out, err
	}
	if out.second, _, err = rowsOf(second); err != nil {
		return out, err
	}
	out.stderr, _, err = head(stderr, maxStderr)
	return out, err
}

func rowsOf(f *os.File) ([]row, bool, error) {
	data, more, err := head(f, maxValues)
	if more {
		err = errTooMuch
	}
	list, whole := whole(rows(data))
	return list, whole, err
}

// script returns the text that bash reads first: the functions, then the
// variables.
func (s *shell) script(j job) []byte {
	var b bytes.Buffer
	b.WriteString("readonly -a __dkms_names=(" + strings.Join(s.names, " ") + ")\n")
	b.Write(evalScript)
	for _, name := range slices.Sorted(maps.Keys(j.vars)) {
		b.WriteString(name + "=" + quote(j.vars[name]) + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(j.values)) {
		for _, i := range j.values[name].Indexes() {
			b.WriteString(name + "[" + strconv.Itoa(i) + "]=" + quote(j.values[name][i]) + "\n")
		}
	}
	return b.Bytes()
}

// memoryFiles are files in memory. Unlike a pipe, such a file does not keep its
// reader waiting for processes that a configuration has left running.
type memoryFiles struct {
	list []*os.File
	err  error
}

// add makes a file in memory. With data the file holds data, is positioned at
// its beginning, and is read-only for bash; without data it is an empty file to
// write to.
func (m *memoryFiles) add(data []byte) *os.File {
	if m.err != nil {
		return nil
	}
	fd, err := unix.MemfdCreate("dkms", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("dkms", unix.MFD_CLOEXEC)
	}
	if err != nil {
		m.err = os.NewSyscallError("memfd_create", err)
		return nil
	}
	f := os.NewFile(uintptr(fd), "memfd:dkms")
	m.list = append(m.list, f)
	if data == nil {
		_, m.err = unix.FcntlInt(f.Fd(), unix.F_SETFL, unix.O_RDWR|unix.O_APPEND)
		return f
	}
	// Processes may open the text again for reading, but not for writing.
	if m.err = f.Chmod(0o444); m.err == nil {
		_, m.err = f.WriteAt(data, 0)
	}
	return f
}

func (m *memoryFiles) close() {
	for _, f := range m.list {
		f.Close()
	}
}

// head returns up to limit bytes of f, and reports whether f has more.
func head(f *os.File, limit int64) (data []byte, more bool, err error) {
	st, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	data = make([]byte, min(st.Size(), limit))
	n, err := f.ReadAt(data, 0)
	if n < len(data) {
		return nil, false, err
	}
	return data, st.Size() > limit, nil
}
