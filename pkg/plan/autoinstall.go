package plan

import (
	"fmt"
	"slices"

	"dkms/pkg/exit"
)

// Candidate is the newest version of a module package, for autoinstall.
type Candidate struct {
	Subject
	// Err is why its dkms.conf cannot be used; the fields below are then
	// unknown.
	Err error
	// Wanted is the value of AUTOINSTALL.
	Wanted bool
	// Excluded is why this kernel is excluded; empty if it is not.
	Excluded string
	// Held is why the version is held back; empty if it is not.
	Held string
	// Depends are the names in BUILD_DEPENDS.
	Depends []string
}

// ForAutoinstall plans the missing installations for one kernel, dependencies
// first. candidates have the order of the tree. headers is why modules cannot
// be built for the kernel, or nil.
func ForAutoinstall(candidates []Candidate, headers error) *Plan {
	a := &autoinstall{plan: &Plan{}, headers: headers, known: map[string]bool{}, done: map[string][]int{}}
	for _, c := range candidates {
		a.known[c.ID.Name] = true
		a.classify(c)
	}
	for progress := true; progress; {
		progress = a.round()
	}
	for _, c := range a.queue {
		a.leftOver(c)
	}
	return a.plan
}

type autoinstall struct {
	plan    *Plan
	headers error
	queue   []Candidate
	known   map[string]bool
	// done maps each satisfied module to the steps that satisfy it.
	done map[string][]int
}

// classify adds a note for a candidate without a step, and queues any other.
func (a *autoinstall) classify(c Candidate) {
	note := Note{ID: c.ID, Target: c.Target}
	switch {
	case c.Installed && c.Unsound == "":
		a.done[c.ID.Name] = nil
		note.Outcome, note.Reason = Ready, "already installed"
	case c.Err != nil:
		note.Outcome, note.Err = Failed, c.Err
	case !c.Wanted:
		note.Outcome, note.Reason = Unwanted, "AUTOINSTALL is not set in its dkms.conf"
	case c.Excluded != "":
		a.done[c.ID.Name] = nil
		note.Outcome, note.Reason = Skipped, c.Excluded
	case c.Held != "":
		a.done[c.ID.Name] = nil
		note.Outcome, note.Reason = Held, c.Held
	default:
		a.queue = append(a.queue, c)
		return
	}
	a.plan.note(note)
}

// round plans the queued modules whose dependencies were satisfied when the
// round began, as the original does.
func (a *autoinstall) round() (progress bool) {
	var rest, ready []Candidate
	for _, c := range a.queue {
		if len(a.missing(c)) > 0 {
			rest = append(rest, c)
		} else {
			ready = append(ready, c)
		}
	}
	a.queue = rest
	for _, c := range ready {
		if (!c.Built || c.Stale != "") && a.headers != nil {
			a.plan.note(Note{ID: c.ID, Target: c.Target, Outcome: Failed, Err: a.headers})
			continue
		}
		var needs []int
		for _, d := range c.Depends {
			needs = append(needs, a.done[d]...)
		}
		a.done[c.ID.Name] = []int{a.plan.install(c.Subject, c.notInstalled(), true, needs)}
		a.plan.rebuild(a.withoutQueued(c.Subject, ready))
		progress = true
	}
	return progress
}

// withoutQueued returns s without the dependents that have an installation of
// their own in this plan.
func (a *autoinstall) withoutQueued(s Subject, ready []Candidate) Subject {
	queued := slices.Concat(a.queue, ready)
	s.Dependents = slices.DeleteFunc(slices.Clone(s.Dependents), func(d Dependent) bool {
		return slices.ContainsFunc(queued, func(c Candidate) bool { return c.ID == d.ID })
	})
	return s
}

func (a *autoinstall) missing(c Candidate) (names []string) {
	for _, d := range c.Depends {
		if _, ok := a.done[d]; !ok {
			names = append(names, d)
		}
	}
	return names
}

// leftOver adds a note for a module whose dependencies were never satisfied. A
// dependency that is not registered may still come; any other will not.
func (a *autoinstall) leftOver(c Candidate) {
	missing := a.missing(c)
	var lost []string
	for _, d := range missing {
		if a.known[d] {
			lost = append(lost, d)
		}
	}
	note := Note{ID: c.ID, Target: c.Target}
	if len(lost) > 0 {
		note.Outcome = Failed
		note.Err = exit.Errorf(exit.DependsMissing, "%s: kernel %s: needs %s, which %s not installed",
			c.ID, c.Target.Kernel, list(lost), isAre(lost))
	} else {
		note.Outcome = Deferred
		note.Reason = fmt.Sprintf("needs %s, which %s not registered with dkms", list(missing), isAre(missing))
	}
	a.plan.note(note)
}

func isAre(names []string) string {
	if len(names) == 1 {
		return "is"
	}
	return "are"
}

func list(names []string) string {
	text := ""
	for i, n := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			text += " and "
		default:
			text += ", "
		}
		text += n
	}
	return text
}
