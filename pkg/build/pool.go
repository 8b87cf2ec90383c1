package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"dkms/pkg/system"
	"dkms/pkg/tree"
	"golang.org/x/sys/unix"
)

// Pool is what the builds of a run share: the number of jobs that all their
// makes together may start, and the users that builds run as. Its jobserver has
// the form that every make since 4.2 knows, a pipe with a byte for each job
// (GNU make manual, "POSIX Jobserver Interaction").
type Pool struct {
	// Jobs is the -j option of a make that runs alone; with "", it has no
	// limit.
	Jobs string

	jobs        int
	read, write *os.File // the ends of the pipe that makes inherit; nil without a jobserver
	// own and give are this program's own ends, opened separately to read from
	// and write to: what a make does to its inherited ends does not affect
	// them, and a pipe that a make has filled does not block this program.
	own, give  *os.File
	users      chan int
	alone      sync.RWMutex
	needsSweep atomic.Bool

	mu       sync.Mutex
	running  int
	versions map[tree.ID]*place
	last     *Turn // the end of the queue
}

// Turn is a place in the queue of builds that wait for a ticket.
type Turn struct {
	before *Turn
	over   chan struct{} // closed when the builds behind this one may continue
	left   sync.Once
}

// Queue adds a build that is about to start to the end of the queue.
func (p *Pool) Queue() *Turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &Turn{before: p.last, over: make(chan struct{})}
	return p.last
}

// wait waits for the builds ahead in the queue; a nil turn does not wait.
func (t *Turn) wait(ctx context.Context) error {
	if t == nil || t.before == nil {
		return nil
	}
	select {
	case <-t.before.over:
		t.before = nil
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Leave lets the next build continue. If this build has not waited for the
// builds ahead of it, the next build still waits for them. A build that has its
// ticket has left the queue.
func (t *Turn) Leave() {
	if t != nil {
		t.left.Do(t.leave)
	}
}

func (t *Turn) leave() {
	if t.before == nil {
		close(t.over)
		return
	}
	go func() {
		<-t.before.over
		close(t.over)
	}()
}

// place is the scratch directory of a version.
type place struct {
	sync.Mutex
	// use is write-locked by a build that uses the whole directory, and
	// read-locked by builds that have mounted something in it; shares counts
	// the latter.
	use    sync.RWMutex
	shares int
}

// maxUsers is the largest number of builds that run at the same time: each
// build has its own user, see [system.BuildUser].
const maxUsers = 15

// NewPool returns a pool that runs as many builds at the same time as there are
// jobs, or only one. If jobs sets no limit, cpus replaces it.
func NewPool(jobs string, cpus int, several bool) *Pool {
	p := &Pool{Jobs: jobs, jobs: max(cpus, 1), users: make(chan int, maxUsers), versions: map[tree.ID]*place{}}
	n, err := strconv.Atoi(jobs)
	if err == nil && n > 0 {
		p.jobs = n
	}
	if !several {
		p.jobs = 1
	}
	for i := range min(p.jobs, maxUsers) {
		p.users <- system.BuildUser(i)
	}
	if several && err == nil {
		p.serve()
	}
	return p
}

// serve opens the pipe. Without /proc there is no jobserver, and every make
// runs a single job.
func (p *Pool) serve() {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC) != nil {
		return
	}
	p.read, p.write = os.NewFile(uintptr(fds[0]), "jobs"), os.NewFile(uintptr(fds[1]), "jobs")
	own, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fds[0]), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		p.own = own
		p.give, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fds[1]), os.O_WRONLY|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		p.Close()
	}
}

// put puts n jobs into the pipe, or as many as it has room for.
func (p *Pool) put(n int) {
	conn, err := p.give.SyscallConn()
	if err != nil {
		return
	}
	conn.Write(func(fd uintptr) (done bool) {
		unix.Write(int(fd), bytes.Repeat([]byte{'+'}, n))
		return true
	})
}

// NeedsSweep tells whether something of a build could not be cleaned up.
func (p *Pool) NeedsSweep() bool { return p.needsSweep.Load() }

// Close closes the pipe.
func (p *Pool) Close() {
	for _, f := range []**os.File{&p.read, &p.write, &p.own, &p.give} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
}

// ticket lets one build run: it stands for the first job of the build's make.
type ticket struct {
	pool *Pool
	user int
	// single says that the build runs alone, with one job.
	single bool
}

// enter waits for a ticket, in the order of the queue. make itself takes its
// further jobs out of the pipe.
func (p *Pool) enter(ctx context.Context, turn *Turn) (*ticket, error) {
	defer turn.Leave()
	if err := turn.wait(ctx); err != nil {
		return nil, err
	}
	p.alone.RLock()
	select {
	case user := <-p.users:
		if err := p.take(ctx); err != nil {
			p.users <- user
			p.alone.RUnlock()
			return nil, err
		}
		return &ticket{pool: p, user: user}, nil
	case <-ctx.Done():
		p.alone.RUnlock()
		return nil, context.Cause(ctx)
	}
}

// leave returns the ticket.
func (s *ticket) leave() {
	p := s.pool
	p.mu.Lock()
	p.running--
	if p.own != nil {
		p.put(1)
	}
	p.mu.Unlock()
	p.users <- s.user
	if s.single {
		p.alone.Unlock()
	} else {
		p.alone.RUnlock()
	}
}

// single waits until no other build runs, and lets no other build start until
// this one leaves.
func (p *Pool) single(ctx context.Context) (*ticket, error) {
	p.alone.Lock()
	user := <-p.users
	if err := p.take(ctx); err != nil {
		p.users <- user
		p.alone.Unlock()
		return nil, err
	}
	return &ticket{pool: p, user: user, single: true}, nil
}

// take takes a byte out of the pipe. If no build is running, all bytes must be
// there: take replaces the bytes that a killed make has not returned.
func (p *Pool) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	if p.own != nil && p.running == 0 {
		if have, err := unix.IoctlGetInt(int(p.read.Fd()), unix.TIOCINQ); err == nil {
			p.put(max(p.jobs-have, 0))
		}
	}
	p.running++
	p.mu.Unlock()
	if p.own == nil {
		return nil
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		p.own.SetReadDeadline(time.Unix(1, 0))
		close(woken)
	})
	_, err := io.ReadFull(p.own, make([]byte, 1))
	if !stop() { // others read from the same end, too
		<-woken
		p.own.SetReadDeadline(time.Time{})
	}
	if err == nil {
		return nil
	}
	p.mu.Lock()
	p.running--
	p.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("jobserver: %w", err)
}

// makeOption is the option that tells make how many jobs to run; it is empty
// where a jobserver decides that.
func (s *ticket) makeOption() string {
	switch {
	case s.pool.own != nil && !s.single:
		return ""
	case s.single || s.pool.jobs > 1 && s.pool.Jobs != "":
		return "-j1"
	}
	return "-j" + s.pool.Jobs
}

// makeFlags is the text in MAKEFLAGS that makes make use the jobserver.
func (s *ticket) makeFlags() string {
	if s.single || s.pool.own == nil {
		return ""
	}
	return fmt.Sprintf(" -j%d --jobserver-auth=3,4", s.pool.jobs)
}

// files are the descriptors 3 and 4 that makeFlags names.
func (s *ticket) files() []*os.File {
	if s.single || s.pool.own == nil {
		return nil
	}
	return []*os.File{s.pool.read, s.pool.write}
}

func (p *Pool) place(id tree.ID) *place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.versions[id] == nil {
		p.versions[id] = &place{}
	}
	return p.versions[id]
}

// lock waits until no other build changes the contents of the scratch directory
// of a version.
func (p *Pool) lock(id tree.ID) (unlock func()) {
	v := p.place(id)
	v.Lock()
	return v.Unlock
}

// whole waits until no other build uses the scratch directory of a version.
func (p *Pool) whole(id tree.ID) (done func()) {
	v := p.place(id)
	v.use.Lock()
	return v.use.Unlock
}

// share lets several builds mount something at the scratch directory of a
// version while no build uses the whole directory. The first build calls first
// when it starts, and the last build calls last when it ends.
func (p *Pool) share(id tree.ID, first, last func()) (done func()) {
	v := p.place(id)
	v.use.RLock()
	v.Lock()
	defer v.Unlock()
	if v.shares++; v.shares == 1 {
		first()
	}
	return func() {
		defer v.use.RUnlock()
		v.Lock()
		defer v.Unlock()
		if v.shares--; v.shares == 0 {
			last()
		}
	}
}
