package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// tally counts what was tried, for all tests together.
type tally struct{ points, mixed atomic.Int64 }

func TestKill(t *testing.T)    { everyScenario(t, 0) }
func TestNoSpace(t *testing.T) { everyScenario(t, syscall.ENOSPC) }
func TestIOError(t *testing.T) { everyScenario(t, syscall.EIO) }

func everyScenario(t *testing.T, errno syscall.Errno) {
	if !tracing {
		t.Skip("no tracer for this architecture")
	}
	var total tally
	t.Cleanup(func() {
		t.Logf("%d points tried; at %d of them the files were of both sets until the next run", total.points.Load(), total.mixed.Load())
	})
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.lay(t).tryAll(t, errno, &total)
		})
	}
}

// tryAll interferes with the command at one point after the other.
func (g *ground) tryAll(t *testing.T, errno syscall.Errno, total *tally) {
	tried, mixed := 0, 0
	for at := 1; ; at += stride {
		g.back("before")
		r, said := g.under(injection{Below: g.root, At: at, Errno: errno}, g.command...)
		if r.Hit == "" {
			t.Logf("%d of %d points tried, %d with files of both sets until the next run", tried, r.Points, mixed)
			break
		}
		tried++
		where := fmt.Sprintf("point %d, %s", at, r.Hit)
		if !g.atFault(t, where, errno, r, said) {
			mixed++
		}
		if t.Failed() && tried > maxFailures {
			t.Fatal("enough")
		}
	}
	total.points.Add(int64(tried))
	total.mixed.Add(int64(mixed))
}

// TestKillTwice also kills the run that cleans up after the one that was
// killed, wherever in its transaction that was. Each shape of transaction is
// tried once.
func TestKillTwice(t *testing.T) {
	eachTransaction(t, "pairs of points", (*ground).killTwice)
}

// eachTransaction calls try for each shape of transaction, and adds up how many
// of what it has tried.
func eachTransaction(t *testing.T, what string, try func(*ground, *testing.T) int64) {
	if !tracing {
		t.Skip("no tracer for this architecture")
	}
	var total atomic.Int64
	t.Cleanup(func() { t.Logf("%d %s tried", total.Load(), what) })
	for _, s := range scenarios {
		if !s.twice {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			total.Add(try(s.lay(t), t))
		})
	}
}

// killed kills the command at one point after the other, and calls next with
// what each kill within the transaction has left, which is saved as "killed".
func (g *ground) killed(next func(where string)) {
	for at := 1; ; at += stride {
		g.back("before")
		r, _ := g.under(injection{Below: g.root, At: at}, g.command...)
		if r.Hit == "" {
			return
		}
		if !system.IsFile(g.tree(".journal.json")) {
			continue
		}
		g.save("killed")
		next(fmt.Sprintf("point %d, %s", at, r.Hit))
	}
}

func (g *ground) killTwice(t *testing.T) (pairs int64) {
	g.killed(func(where string) {
		for again := 1; ; again += stride {
			g.back("killed")
			second, _ := g.under(injection{Below: g.root, At: again}, "add", "none/1")
			if second.Hit == "" {
				break
			}
			if strings.Contains(second.Hit, "/modules.") {
				continue // all changes have been made
			}
			pairs++
			g.secondFault(t, fmt.Sprintf("%s, then point %d, %s", where, again, second.Hit))
		}
	})
	t.Logf("%d pairs of points tried", pairs)
	return pairs
}

// secondFault checks what two faults have left, and that the next run makes it
// whole.
func (g *ground) secondFault(t *testing.T, where string) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: "+format, append([]any{where}, args...)...)
	}
	if torn := g.torn(g.machine); len(torn) > 0 {
		fail("%v", torn)
	}
	g.converges(fail, "autoinstall")
	if torn := g.torn(g.machine); len(torn) > 0 {
		fail("in the end %v", torn)
	}
}

// maxFailures is after how many points a scenario that fails is given up.
const maxFailures = 10

// under runs dkms with a fault. Nothing that it has started is left running.
func (g *ground) under(inj injection, args ...string) (traced, string) {
	g.Helper()
	self, err := os.Executable()
	g.must(err)
	what, err := json.Marshal(inj)
	g.must(err)
	result, err := os.Create(filepath.Join(g.dir, "result"))
	g.must(err)
	defer result.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, append([]string{self}, args...)...)
	cmd.Env = append(slices.Clone(g.env), "FAULT_PROGRAM=tracer", "FAULT_INJECTION="+string(what))
	cmd.Stdin = result
	said, err := cmd.CombinedOutput()
	if err != nil {
		g.Fatalf("dkms %v under %s: %v\n%s", args, what, err, said)
	}
	var r traced
	data, err := os.ReadFile(result.Name())
	g.must(err)
	g.must(json.Unmarshal(data, &r))
	return r, string(said)
}

// atFault checks what a fault has left and that everything is whole in the
// end, both ways. It tells whether the kernel had one set right away.
func (g *ground) atFault(t *testing.T, where string, errno syscall.Errno, r traced, said string) (whole bool) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: "+format, append([]any{where}, args...)...)
	}
	if torn := g.torn(g.machine); len(torn) > 0 {
		fail("%v", torn)
	}
	whole = slices.Contains(g.sets, g.modules())
	if errno != 0 {
		if !whole {
			fail("the kernel has\n%s\nwant one of\n%s", g.modules(), strings.Join(g.sets, "\nor\n"))
		}
		g.wantError(fail, errno, r, said)
	} else if !r.Status.Signaled() {
		fail("dkms was not killed: %v", r.Status)
	}
	g.save("fault")
	if door := g.dkms("add", "none/1"); door.code != int(exit.NoSource) {
		fail("then any door = %d\n%s", door.code, door.stderr)
	}
	if set := g.modules(); !slices.Contains(g.sets, set) {
		fail("after recovery the kernel has\n%s\nwant one of\n%s", set, strings.Join(g.sets, "\nor\n"))
	}
	if torn := g.torn(g.machine); len(torn) > 0 {
		fail("after recovery %v", torn)
	}
	g.converges(fail, "again")
	g.back("fault")
	g.converges(fail, "autoinstall")
	return whole
}

// wantError wants a failed call to be a failed command with one clear error,
// unless the command did its work all the same.
func (g *ground) wantError(fail func(string, ...any), errno syscall.Errno, r traced, said string) {
	if !r.Status.Exited() {
		fail("dkms ended by %v\n%s", r.Status, said)
		return
	}
	if r.Status.ExitStatus() == 0 {
		if g.modules() != g.goal {
			fail("dkms = 0, but the work is not done\n%s", said)
		}
		return
	}
	count := 0
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "dkms: ") && !strings.HasPrefix(line, "dkms: warning: ") && strings.Contains(line, errno.Error()) {
			count++
		}
	}
	if count != 1 {
		fail("dkms = %d with %d errors; want one\n%s", r.Status.ExitStatus(), count, said)
	}
}

// converges goes one way on and wants it to lead where it leads without
// faults.
func (g *ground) converges(fail func(string, ...any), way string) {
	var said bytes.Buffer
	g.onwards(way)
	if left := append(g.leftovers(), g.wrongIndex()...); len(left) > 0 {
		fail("%s: left behind: %v", way, left)
	}
	if got := g.picture(); !slices.Contains(g.finals[way], got) {
		fail("%s leads to\n%s\n%s", way, difference(got, g.finals[way]), said.String())
	}
}

// difference is what sets a picture apart from the one that it is most like.
func difference(got string, want []string) string {
	best := ""
	for _, w := range want {
		var d []string
		for line := range strings.Lines(got) {
			if !slices.Contains(slices.Collect(strings.Lines(w)), line) {
				d = append(d, "+ "+strings.TrimSpace(line))
			}
		}
		for line := range strings.Lines(w) {
			if !slices.Contains(slices.Collect(strings.Lines(got)), line) {
				d = append(d, "- "+strings.TrimSpace(line))
			}
		}
		if text := strings.Join(d, "\n"); best == "" || len(text) < len(best) {
			best = text
		}
	}
	return best
}
