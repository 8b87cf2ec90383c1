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

// Pool is what the builds of a run share: the jobs that all their makes
// together may start, and users to run as. Its jobserver has the form that
// every make since 4.2 knows, a pipe with a byte for each job (GNU make
// manual, "POSIX Jobserver Interaction").
type Pool struct {
	// Jobs is the -j of a make that runs alone; empty is without limit.
	Jobs string

	jobs        int
	read, write *os.File // the ends that makes inherit; nil without a jobserver
	// own and give are ends to read from and write to that were opened anew:
	// what makes do to theirs is not felt, and a pipe that one has filled is
	// nothing to wait for.
	own, give  *os.File
	users      chan int
	alone      sync.RWMutex
	needsSweep atomic.Bool

	mu       sync.Mutex
	running  int
	versions map[tree.ID]*place
	last     *Turn // the end of the line
}

// Turn is a place in the line of the builds that wait for a ticket.
type Turn struct {
	before *Turn
	over   chan struct{} // closed when those behind may go
	left   sync.Once
}

// Queue gives the end of the line to a build that is about to start.
func (p *Pool) Queue() *Turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &Turn{before: p.last, over: make(chan struct{})}
	return p.last
}

// wait waits for those before; a nil turn is for somebody who need not.
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

// Leave lets the next one go: after those before, where it has not waited for
// them. A build that has its ticket has left the line.
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
	// use is held by the build that has all of it, or read by those that have
	// mounted something there; shares is how many those are.
	use    sync.RWMutex
	shares int
}

// maxUsers is how many builds run at a time at most: each has a user of its
// own, see [system.BuildUser].
const maxUsers = 15

// NewPool returns a pool for as many builds at a time as there are jobs, or
// for one. cpus stands in for jobs where they are not limited.
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
// gets by with one job.
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

// put puts jobs into the pipe, as far as there is room.
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

// NeedsSweep tells whether something of a build could not be put away.
func (p *Pool) NeedsSweep() bool { return p.needsSweep.Load() }

// Close gives the pipe back.
func (p *Pool) Close() {
	for _, f := range []**os.File{&p.read, &p.write, &p.own, &p.give} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
}

// ticket is the place of one build in the pool: the first job of its make.
type ticket struct {
	pool *Pool
	user int
	// single is for a build that is to run alone, with one job.
	single bool
}

// enter waits for a place, in turn. Every other job that its make starts, it
// takes out of the pipe itself.
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

// leave gives the place back.
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

// single waits until no other build runs, and keeps others from starting
// until it leaves.
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

// take takes a byte out of the pipe. With no build running all must be there:
// what a make that was killed has not given back is made up for.
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
	if !stop() { // others read there, too
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

// makeOption is the option that tells a make how much it may do at a time; it
// is empty where a jobserver does.
func (s *ticket) makeOption() string {
	switch {
	case s.pool.own != nil && !s.single:
		return ""
	case s.single || s.pool.jobs > 1 && s.pool.Jobs != "":
		return "-j1"
	}
	return "-j" + s.pool.Jobs
}

// makeFlags are what leads a make to the jobserver, as MAKEFLAGS has it.
func (s *ticket) makeFlags() string {
	if s.single || s.pool.own == nil {
		return ""
	}
	return fmt.Sprintf(" -j%d --jobserver-auth=3,4", s.pool.jobs)
}

// files are the descriptors 3 and 4 of that.
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

// lock waits until no other build changes what is in the scratch directory of a
// version.
func (p *Pool) lock(id tree.ID) (unlock func()) {
	v := p.place(id)
	v.Lock()
	return v.Unlock
}

// whole waits until no other build has anything to do with the scratch
// directory of a version.
func (p *Pool) whole(id tree.ID) (done func()) {
	v := p.place(id)
	v.use.Lock()
	return v.use.Unlock
}

// share lets several builds mount something at the scratch directory of a
// version, while no build has the whole directory. The first of them calls
// first, and the last that is done calls last.
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
