package inspect

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
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
	hidden := false
	for _, id := range ids {
		for _, path := range build.RunningLogs(t.Tree, id) {
			a, ok := build.Running(t.Tree, id, path)
			if ok && t.asks(a.Target) {
				return t.follow(ctx, m, id, a)
			}
		}
		hidden = hidden || build.HiddenLogs(t.Tree, id)
	}
	if hidden {
		return 0, exit.Errorf(exit.Usage, "only root can read the log of a build that is isolated").WithHint("sudo dkms log --follow")
	}
	return 0, exit.Errorf(exit.NotBuilt, "nothing is being built").WithHint("dkms log shows the last failure, dkms log MODULE the last build of one")
}

// follow prints one log to the end of its build.
func (t *teller) follow(ctx context.Context, m *machine.Machine, id tree.ID, a build.Attempt) (exit.Code, error) {
	f, st, err := system.OpenPlain(a.Path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	m.Report.Progressf("%s: building for %s: %s", id, a.Target, a.Path)
	in, part := bufio.NewReader(f), ""
	for {
		ended := !build.Writing(f) // asked first: what is written before the end is read below
		for {
			text, err := in.ReadString('\n')
			part += text
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
			tellLine(m, part[:len(part)-1])
			part = ""
		}
		if ended {
			break
		}
		select {
		case <-ctx.Done():
			return exit.Usage, nil
		case <-time.After(followPause):
		}
	}
	if part != "" {
		tellLine(m, part)
	}
	return t.outcome(m, id, a.Target, st)
}

// outcome says how the build whose log was followed has ended.
func (t *teller) outcome(m *machine.Machine, id tree.ID, k tree.Target, log fs.FileInfo) (exit.Code, error) {
	for _, a := range build.Attempts(t.Tree, id) {
		st, err := os.Stat(a.Path)
		if a.Failed && err == nil && os.SameFile(st, log) {
			return 0, exit.Errorf(exit.MakeFailed, "%s: the build for %s failed", id, k).WithHint("dkms log %s shows its log again", id)
		}
	}
	if !t.Tree.IsBuilt(id, k) {
		return 0, exit.Errorf(exit.NotBuilt, "%s: the build for %s has ended and left nothing", id, k).WithHint("dkms why %s", id)
	}
	m.Report.Progressf("%s: built for %s", id, k)
	return exit.OK, nil
}
