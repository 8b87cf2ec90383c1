//go:build differential

package differential

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"dkms/testscripts/chroot"
)

// defaultCount is the number of sequences; DIFFERENTIAL_COUNT asks for
// another, and DIFFERENTIAL_FIRST for another start.
const defaultCount = 300

// TestDifferential gives random sequences of commands to both programs and
// compares after every command how it ended, what status says and what files
// there are.
func TestDifferential(t *testing.T) {
	for _, original := range originals(t) {
		t.Run(original.Version, func(t *testing.T) { against(t, original) })
	}
}

// originals are those to compare ours with: the versions in
// DIFFERENTIAL_ORIGINAL and the checkout DKMS_ORIGINAL, or Debian's two.
func originals(t *testing.T) (all []chroot.Original) {
	t.Helper()
	versions, checkout := os.Getenv("DIFFERENTIAL_ORIGINAL"), os.Getenv("DKMS_ORIGINAL")
	if versions == "" && checkout == "" {
		versions = "3.0.10 3.2.2"
	}
	for version := range strings.FieldsSeq(versions) {
		original, err := chroot.FindOriginal(version)
		check(t, err)
		all = append(all, original)
	}
	if checkout != "" {
		original, err := chroot.ReadOriginal(checkout)
		check(t, err)
		all = append(all, original)
	}
	return all
}

func against(t *testing.T, original chroot.Original) {
	first, count := number(t, "DIFFERENTIAL_FIRST", 0), number(t, "DIFFERENTIAL_COUNT", defaultCount)
	c, known := chroot.Prepare(t, original), knownOf(original.Version)
	jobs := examples(known)
	for n := first; n < first+count; n++ {
		jobs = append(jobs, job{name: fmt.Sprintf("sequence %d", n), distribution: distribution(n), steps: sequence(n)})
	}
	queue := make(chan job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	l := &ledger{used: map[string]int{}, seen: map[string]bool{}}
	var wait sync.WaitGroup
	for range runtime.NumCPU() {
		p := pair{boot(t, "theirs", c.Theirs), boot(t, "ours", c.Ours), known}
		wait.Go(func() {
			for j := range queue {
				p.judge(t, l, j)
			}
		})
	}
	wait.Wait()
	for _, d := range known {
		t.Logf("%5d times: %s", l.used[d.name], d.name)
	}
	t.Logf("%d commands of %d sequences were compared", l.commands, count)
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%s: not a number", name, text)
	}
	return n
}

// ledger is what all workers write down.
type ledger struct {
	sync.Mutex
	used     map[string]int
	seen     map[string]bool
	commands int
}

// maxReports bounds how many different failures are made small and shown.
const maxReports = 12

// job is a sequence of commands to compare.
type job struct {
	name, distribution string
	steps              []step
	// want is the difference that the commands must show.
	want string
}

// examples are those of the known differences: one that does not show is not
// needed any more.
func examples(known []difference) (jobs []job) {
	for _, d := range known {
		j := job{name: "example", distribution: cmp.Or(d.on, "debian"), want: d.name}
		for line := range strings.SplitSeq(d.example, "\n") {
			words := strings.Fields(line)
			s := step{line: line}
			if words[0] == "dkms" {
				s.verb = words[1]
			}
			j.steps = append(j.steps, s)
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// judge does a job. A failure that was not met before is reduced to the
// commands it needs.
func (p pair) judge(t *testing.T, l *ledger, j job) {
	o, err := p.play(j.distribution, j.steps)
	if err != nil {
		t.Errorf("%s: %v", j.name, err)
		return
	}
	if j.want != "" && !slices.Contains(o.excused, j.want) {
		t.Errorf("difference %q does not show any more:\n%s%s", j.want, lines(j.steps), o)
	}
	again := l.enter(o)
	switch {
	case len(o.left) == 0:
	case again:
		t.Errorf("%s: the same again: %s", j.name, o.class())
	default:
		steps, o := p.reduce(j.steps[:o.done], o)
		t.Errorf("%s, reduced, on %s:\n%s%s", j.name, o.distribution, lines(steps), o)
	}
}

// enter writes an outcome down and tells whether its failure is not to be
// shown in full.
func (l *ledger) enter(o *outcome) (again bool) {
	l.Lock()
	defer l.Unlock()
	for _, name := range o.excused {
		l.used[name]++
	}
	l.commands += o.done
	again = l.seen[o.class()] || len(l.seen) >= maxReports
	if len(o.left) > 0 {
		l.seen[o.class()] = true
	}
	return again
}

// pair are the two machines that one worker drives, and the differences that
// they are meant to have.
type pair struct {
	theirs, ours *machine
	known        []difference
}

// both runs a line on both machines at once.
func (p pair) both(line string, args ...string) (theirs, ours result, err error) {
	var oursErr error
	var wait sync.WaitGroup
	wait.Go(func() { ours, oursErr = p.ours.exec(line, args...) })
	theirs, err = p.theirs.exec(line, args...)
	wait.Wait()
	if err == nil {
		err = oursErr
	}
	return theirs, ours, err
}

// outcome is how a sequence went.
type outcome struct {
	distribution string
	done         int // commands compared
	last         step
	theirs, ours result
	items        []item // the differences after the last command
	left         []item // those of them that are not known
	excused      []string
}

// class is equal for failures that are likely one.
func (o *outcome) class() string {
	if len(o.left) == 0 {
		return ""
	}
	it := o.left[0]
	detail := it.path
	if it.kind == exitStatus {
		detail = it.theirs + "/" + it.ours
	}
	if it.kind == files {
		parts := strings.Split(it.path, "/")
		detail = strings.Join(parts[:min(3, len(parts))], "/") + " " + path.Ext(it.path)
	}
	return fmt.Sprintf("%s: %s %s", o.last.verb, it.kind, detail)
}

// has tells whether the machines differ in a path that contains text.
func (o *outcome) has(text string) bool {
	return slices.ContainsFunc(o.items, func(it item) bool { return strings.Contains(it.path, text) })
}

func (o *outcome) String() string {
	var b strings.Builder
	for i, it := range o.left {
		if i == 8 {
			fmt.Fprintf(&b, "  and %d more\n", len(o.left)-i)
			break
		}
		fmt.Fprintf(&b, "  %s %s\n    theirs: %s\n    ours:   %s\n", it.kind, it.path, it.theirs, it.ours)
	}
	fmt.Fprintf(&b, "  theirs said: %s\n  ours said: %s", indent(o.theirs), indent(o.ours))
	return b.String()
}

func indent(r result) string {
	text := strings.TrimSpace(r.stdout + r.stderr)
	return strings.ReplaceAll(text[:min(len(text), 1500)], "\n", "\n    ")
}

// play resets the machines and runs the steps until they are all done, the
// machines differ in a way that is not known, or hold different files.
func (p pair) play(distribution string, steps []step) (*outcome, error) {
	o := &outcome{distribution: distribution}
	theirs, ours, err := p.both(reset, distribution)
	if err != nil || theirs.exit != 0 || ours.exit != 0 {
		return nil, fmt.Errorf("reset: %w\n%s%s", err, theirs.stderr, ours.stderr)
	}
	for i, s := range steps {
		items, err := p.compare(o, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		o.done, o.last, o.items = i+1, s, items
		apart := false
		for _, it := range items {
			d := excuse(p.known, steps[:i+1], o, it)
			if d == nil {
				o.left = append(o.left, it)
				continue
			}
			o.excused = append(o.excused, d.name)
			apart = apart || it.kind != exitStatus && !d.lasting
		}
		if apart || len(o.left) > 0 {
			break
		}
	}
	slices.Sort(o.excused)
	o.excused = slices.Compact(o.excused)
	return o, nil
}

// item is one difference.
type item struct {
	kind         kind
	path         string
	theirs, ours string
}

type kind string

const (
	exitStatus kind = "exit status"
	status     kind = "dkms status"
	files      kind = "files"
)

// compare runs a step on both machines and looks at what it did.
func (p pair) compare(o *outcome, s step) (items []item, err error) {
	if o.theirs, o.ours, err = p.both(s.line); err != nil {
		return nil, err
	}
	if o.theirs.exit != o.ours.exit {
		items = append(items, item{exitStatus, "", strconv.Itoa(o.theirs.exit), strconv.Itoa(o.ours.exit)})
	}
	if s.verb == "status" && o.theirs.stdout != o.ours.stdout {
		items = append(items, item{status, "", o.theirs.stdout, o.ours.stdout})
	}
	theirs, ours, err := p.both("dkms status")
	if err != nil {
		return nil, err
	}
	if theirs.stdout != ours.stdout || theirs.exit != ours.exit {
		items = append(items, item{status, "", theirs.stdout, ours.stdout})
	}
	before, err := p.theirs.snapshot()
	if err != nil {
		return nil, err
	}
	after, err := p.ours.snapshot()
	if err != nil {
		return nil, err
	}
	return append(items, diff(before, after)...), nil
}

// diff lists the paths that two snapshots differ in.
func diff(theirs, ours snapshot) (items []item) {
	all := maps.Clone(theirs)
	maps.Copy(all, ours)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if theirs[name] != ours[name] {
			items = append(items, item{files, name, theirs[name], ours[name]})
		}
	}
	return items
}

// reduce leaves out commands as long as the failure stays of its class.
func (p pair) reduce(steps []step, o *outcome) ([]step, *outcome) {
	for i := len(steps) - 2; i >= 0; i-- {
		fewer := slices.Delete(slices.Clone(steps), i, i+1)
		if again, err := p.play(o.distribution, fewer); err == nil && again.done == len(fewer) && again.class() == o.class() {
			steps, o = fewer, again
		}
	}
	return steps, o
}
