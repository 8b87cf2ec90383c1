package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// followPause is how long Follow waits for more of a log.
const followPause = 200 * time.Millisecond

// Follow prints the log of a build that is under way, of the versions and
// kernels that q matches, until the build ends. The status is that of its end.
func Follow(ctx context.Context, m *machine.Machine, q Query) (exit.Code, error) {
	t, err := newTeller(m, q)
	if err != nil {
		return 0, err
	}
	var ids []tree.ID
	if q.Name == "" {
		for _, v := range t.facts.Registered() {
			ids = append(ids, v.ID)
		}
	} else if ids, err = t.named("log"); err != nil {
		return 0, err
	}
	list, hidden := t.underWay(ids)
	if len(list) > 0 {
		return t.follow(ctx, list[0], list[1:])
	}
	if hidden {
		return 0, exit.Errorf(exit.Usage, "only root can read the log of a build that is isolated").WithHint("sudo dkms log --follow")
	}
	return 0, exit.Errorf(exit.NotBuilt, "nothing is being built").WithHint("dkms log shows the last failure, dkms log MODULE the last build of one")
}

// running is a build that is under way.
type running struct {
	tree.ID
	build.Attempt
}

// underWay lists the builds that are under way, of those that the query asks
// for; hidden says that the caller may not see whether there are others.
func (t *teller) underWay(ids []tree.ID) (list []running, hidden bool) {
	for _, id := range ids {
		for _, path := range build.RunningLogs(t.Tree, id) {
			if a, ok := build.Running(t.Tree, id, path); ok && t.asks(a.Target) {
				list = append(list, running{id, a})
			}
		}
		hidden = hidden || build.HiddenLogs(t.Tree, id)
	}
	return list, hidden
}

// sayWhich says which of several builds is followed, and how to choose another.
func (t *teller) sayWhich(r running, others []running) {
	e := report.Event{Kind: report.Progress, Text: fmt.Sprintf("%s: building for %s: %s", r.ID, r.Target, r.Path)}
	var hints []string
	for _, o := range others {
		hints = append(hints, fmt.Sprintf("dkms log %s -k %s/%s --follow", o.ID, o.Target.Kernel, o.Target.Arch))
	}
	if len(hints) > 0 {
		e.Text += fmt.Sprintf("\n%s under way, too", count(len(hints), "other build"))
		e.Err = exit.Errorf(exit.OK, "others").WithHint("%s", strings.Join(hints, "\n"))
	}
	t.Report.Emit(e)
}

// follow prints one log to the end of its build.
func (t *teller) follow(ctx context.Context, r running, others []running) (exit.Code, error) {
	f, st, err := system.OpenPlain(r.Path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	t.sayWhich(r, others)
	for in := build.NewTail(f); ; {
		ended := !build.Writing(f) // asked first: what is written before the end is read below
		for {
			line, err := in.Line()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
			tellLine(t.Machine, line)
		}
		if ended {
			if rest := in.Rest(); rest != "" {
				tellLine(t.Machine, rest)
			}
			return t.outcome(r.ID, r.Target, st)
		}
		select {
		case <-ctx.Done():
			return exit.Usage, nil
		case <-time.After(followPause):
		}
	}
}

// outcome says how the build whose log was followed has ended.
func (t *teller) outcome(id tree.ID, k tree.Target, log fs.FileInfo) (exit.Code, error) {
	for _, a := range build.Attempts(t.Tree, id) {
		st, err := os.Stat(a.Path)
		if a.Failed && err == nil && os.SameFile(st, log) {
			return 0, exit.Errorf(exit.MakeFailed, "%s: the build for %s failed", id, k).WithHint("dkms log %s shows its log again", id)
		}
	}
	if !t.Tree.IsBuilt(id, k) {
		return 0, exit.Errorf(exit.NotBuilt, "%s: the build for %s has ended and left nothing", id, k).WithHint("dkms why %s", id)
	}
	t.Report.Progressf("%s: built for %s", id, k)
	return exit.OK, nil
}
