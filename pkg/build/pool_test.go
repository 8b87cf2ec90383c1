package build

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A make that fills the pipe, or empties it, is in nobody's way for longer than
// it runs.
func TestPoolAbused(t *testing.T) {
	p := NewPool("4", 4, true)
	defer p.Close()
	if p.own == nil {
		t.Skip("no jobserver without /proc")
	}
	first, err := p.enter(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(p.write.Fd()), true); err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		_, err := unix.Write(int(p.write.Fd()), bytes.Repeat([]byte{'x'}, 4096))
		full = err == unix.EAGAIN
	}
	first.leave()
	drained := make([]byte, 1<<20)
	second, err := p.enter(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n > 0; {
		if have, err := unix.IoctlGetInt(int(p.read.Fd()), unix.TIOCINQ); err != nil || have == 0 {
			break
		}
		n, _ = unix.Read(int(p.read.Fd()), drained)
	}
	second.leave()
	for range 4 { // all jobs are there again
		if _, err := p.enter(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// One that gives up while it waits for a job leaves nothing behind for others.
func TestPoolGivenUp(t *testing.T) {
	p := NewPool("1", 1, true)
	defer p.Close()
	first, err := p.enter(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	p.users <- 0 // a second one is let in, for whom there is no job
	go func() {
		_, err := p.enter(ctx, nil)
		gone <- err
	}()
	for waiting := false; !waiting; runtime.Gosched() {
		p.mu.Lock()
		waiting = p.running == 2
		p.mu.Unlock()
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that gave up: %v", err)
	}
	first.leave()
	if s, err := p.single(ctx); err == nil {
		t.Error("a build that is over gets all jobs")
		s.leave()
	}
	for range 3 {
		s, err := p.enter(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.leave()
	}
}

// Builds that share the scratch directory of a version wait for the one that
// has the whole of it, and it for them.
func TestPoolPlaces(t *testing.T) {
	p := NewPool("", 4, true)
	var mu sync.Mutex
	var order []string
	note := func(what string) func() {
		return func() {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
	}
	one := p.share(foo, note("first"), note("last"))
	two := p.share(foo, note("never"), note("last"))
	var others sync.WaitGroup
	others.Go(func() {
		done := p.whole(foo)
		note("whole")()
		done()
	})
	one()
	note("one")()
	two()
	others.Wait()
	p.share(foo, note("again"), note("end"))()
	if want := []string{"first", "one", "last", "whole", "again", "end"}; !slices.Equal(order, want) {
		t.Errorf("the order is %v; want %v", order, want)
	}
}

// Seats are taken in the order of the line, whoever comes first; one that gives
// up holds up nobody.
func TestPoolTurns(t *testing.T) {
	p := NewPool("1", 1, true)
	defer p.Close()
	var turns []*Turn
	for range 20 {
		turns = append(turns, p.Queue())
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	order := make(chan int, len(turns))
	var builds sync.WaitGroup
	for i, turn := range slices.Backward(turns) {
		builds.Go(func() {
			ctx := t.Context()
			if i%5 == 3 {
				ctx = gone
			}
			s, err := p.enter(ctx, turn)
			if err != nil {
				return
			}
			order <- i
			s.leave()
		})
	}
	builds.Wait()
	close(order)
	last := -1
	for i := range order {
		if i < last {
			t.Errorf("%d came after %d", i, last)
		}
		last = i
	}
	if last != len(turns)-1 {
		t.Errorf("the last one was %d", last)
	}
}
