package inspect

import (
	"context"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/tree"
)

// Log prints the log of the last build that q matches: a build of any version
// and for any kernel where q leaves them open. Without a module in q it prints
// the log of the last build that failed.
func Log(ctx context.Context, m *machine.Machine, q Query) error {
	t, err := newTeller(m, q)
	if err != nil {
		return err
	}
	var ids []tree.ID
	if q.Name == "" {
		for _, v := range t.facts.Registered() {
			ids = append(ids, v.ID)
		}
	} else if ids, err = t.named("log"); err != nil {
		return err
	}
	last, id := t.lastAttempt(ids)
	switch {
	case last.Path == "" && q.Name == "":
		return exit.Errorf(exit.NotBuilt, "there is no log of a build that failed").WithHint("dkms log MODULE shows the last build of one")
	case last.Path == "":
		return exit.Errorf(exit.NotBuilt, "there is no log of a build of %s", q.word()).
			WithHint("dkms why %s says how it stands", q.Name)
	case q.Name == "":
		m.Report.Progressf("%s: the last build that failed", id)
	}
	how := "ended well"
	if last.Failed {
		how = "failed"
	}
	m.Report.Progressf("%s: the build for %s that %s on %s", last.Path, last.Target, how, day(last.Time))
	if err := printLog(ctx, m, last.Path); err != nil {
		return err
	}
	if first := build.FirstError(last.Path); last.Failed && len(first) > 0 {
		m.Report.Progressf("the first error in it: %s", strings.Join(first, "\n"))
	}
	return nil
}

// lastAttempt returns the last build of the versions that the query matches.
func (t *teller) lastAttempt(ids []tree.ID) (last build.Attempt, of tree.ID) {
	for _, id := range ids {
		for _, a := range build.Attempts(t.Tree, id) {
			if t.asks(a.Target) && (a.Failed || t.Name != "") && a.Time.After(last.Time) {
				last, of = a, id
			}
		}
	}
	return last, of
}

// asks reports whether a query includes a kernel.
func (q Query) asks(k tree.Target) bool {
	filters := q.Choice.Filters()
	for _, f := range filters {
		if machine.MatchesTarget(f, k) {
			return true
		}
	}
	return len(filters) == 0
}

// printLog prints a log. It labels lines that look like errors but are
// harmless.
func printLog(ctx context.Context, m *machine.Machine, path string) error {
	for line, err := range build.Lines(ctx, path) {
		if err != nil {
			return err
		}
		tellLine(m, line)
	}
	return nil
}

// tellLine prints a line of a log.
func tellLine(m *machine.Machine, line string) {
	if meaning := build.Harmless(line); meaning != "" {
		line += "   [harmless: " + meaning + "]"
	}
	m.Report.Result(line)
}
