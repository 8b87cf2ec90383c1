package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// stalled says that a command of the package made no progress for the time that
// build_time_limit allows.
type stalled struct{ limit time.Duration }

func (s *stalled) Error() string {
	return fmt.Sprintf("nothing was printed and no processor time used for %s: ended", s.limit)
}

// A build is checked often enough to end it in time, and to tell the service
// manager that it is still running.
const (
	minLook = time.Second
	maxLook = time.Minute
	// Waiting in a loop costs the idleShare-th part of the time between two
	// checks: a build that uses less processor time makes no progress.
	idleShare = 50
)

// watched runs a command of the package, and ends it when it makes no progress
// for the time limit of builds. A slow build that makes progress is not ended:
// small machines need hours for large modules.
func (w *work) watched(ctx context.Context, do func(ctx context.Context, started func(pid int)) error) error {
	limit := w.limit()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var pid atomic.Int64
	over := &stalled{limit}
	go w.watch(ctx, &pid, limit, func() { cancel(over) })
	err := do(ctx, func(p int) { pid.Store(int64(p)) })
	if err != nil && context.Cause(ctx) == error(over) {
		return over
	}
	return err
}

func (w *work) limit() time.Duration {
	if w.Framework == nil {
		return 0
	}
	return w.Framework.BuildTimeLimit
}

// watch checks the build until ctx ends.
func (w *work) watch(ctx context.Context, pid *atomic.Int64, limit time.Duration, end func()) {
	every := maxLook
	if limit > 0 {
		every = max(min(limit/30, maxLook), minLook)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	p := progress{since: time.Now()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.Report.Alive()
		now := time.Now()
		p.look(now, every, size(w.scratch.log), processorTime(int(pid.Load())))
		if limit > 0 && now.Sub(p.since) >= limit {
			end()
			return
		}
	}
}

// progress is when a build was last seen to make progress.
type progress struct {
	since   time.Time
	printed int64
	used    time.Duration
}

// look compares the output and processor time of a build with those of the last
// check.
func (p *progress) look(now time.Time, every time.Duration, printed int64, used time.Duration) {
	if printed != p.printed || used-p.used >= every/idleShare {
		p.since = now
	}
	p.printed, p.used = printed, used
}

func size(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// processorTime is what a process and all its descendants have used so far. The
// time of a descendant that ended without being waited for is not included.
func processorTime(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	children, used := map[int][]int{}, map[int]time.Duration{}
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		p, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if parent, u, err := readStat(p); err == nil {
			children[parent] = append(children[parent], p)
			used[p] = u
		}
	}
	var total time.Duration
	for list := []int{pid}; len(list) > 0; list = list[1:] {
		total += used[list[0]]
		list = append(list, children[list[0]]...)
	}
	return total
}

// tick is the unit of the times in /proc, see sysconf(3), _SC_CLK_TCK: the
// kernel reports 100 a second to all programs.
const tick = time.Second / 100

// readStat reads the parent of a process, and the time of the process and of
// the children it has waited for, see proc_pid_stat(5). The name of a process
// may contain any character.
func readStat(pid int) (parent int, used time.Duration, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 15 {
		return 0, 0, errors.New("stat: too short")
	}
	parent, err = strconv.Atoi(string(fields[1]))
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(string(f), 10, 64)
		used += time.Duration(n) * tick
	}
	return parent, used, err
}
