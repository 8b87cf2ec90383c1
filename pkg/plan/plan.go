// Package plan decides what has to be done, and why, before anything is done.
//
// It guarantees that a plan depends on the facts handed to it and on nothing
// else, that its steps come in an order in which they can be carried out one
// after the other, and that everything left out is left out for a reason that
// can be shown.
package plan

import (
	"fmt"

	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

// Kind is what a step does.
type Kind int

// The kinds of steps.
const (
	Build Kind = iota
	Install
	Uninstall
	Unbuild
	Forget
	Sign
)

func (k Kind) String() string {
	return [...]string{"build", "install", "uninstall", "unbuild", "forget", "sign"}[k]
}

// Step is one change to one module version, for one kernel unless it is a
// Forget.
type Step struct {
	Kind   Kind
	ID     tree.ID
	Target tree.Target
	// Reason says why, in a few words.
	Reason string
	// Needs are indexes of earlier steps that must have succeeded.
	Needs []int
	// Auto marks a step of autoinstall.
	Auto bool
}

// Outcome is how a module version fared for a kernel.
type Outcome int

// The outcomes, of a plan for what it leaves out and of a run for the rest.
const (
	// Ready: what was asked for is already so.
	Ready Outcome = iota
	// Changed: the run made it so.
	Changed
	// Skipped: not meant for this kernel.
	Skipped
	// Deferred: waits for a module that is not registered yet.
	Deferred
	// Failed: not done, see the error.
	Failed
	// Unwanted: registered but not to be installed on its own.
	Unwanted
)

// Note is a module version that needs no step, or can have none.
type Note struct {
	ID      tree.ID
	Target  tree.Target
	Outcome Outcome
	Reason  string
	Err     error
}

// Plan is what to do and what not to do.
type Plan struct {
	Steps []Step
	Notes []Note
}

// Add appends a step and returns its index.
func (p *Plan) Add(s Step) int {
	p.Steps = append(p.Steps, s)
	return len(p.Steps) - 1
}

func (p *Plan) note(n Note) { p.Notes = append(p.Notes, n) }

// Subject is a module version and a kernel as they stand.
type Subject struct {
	ID     tree.ID
	Target tree.Target
	// Built and Installed are as tree tells them.
	Built, Installed bool
}

// Options are what the caller asked for beyond the verb.
type Options struct {
	Force bool
}

// ForBuild plans dkms build.
func ForBuild(subjects []Subject, o Options) *Plan {
	p := &Plan{}
	for _, s := range subjects {
		switch {
		case !s.Built:
			p.Add(Step{Kind: Build, ID: s.ID, Target: s.Target, Reason: "not built"})
		case o.Force:
			p.Add(Step{Kind: Build, ID: s.ID, Target: s.Target, Reason: "built, but --force was given"})
		default:
			p.note(Note{ID: s.ID, Target: s.Target, Outcome: Ready, Reason: "already built"})
		}
	}
	return p
}

// ForInstall plans dkms install, which builds what is not built.
func ForInstall(subjects []Subject, o Options) *Plan {
	p := &Plan{}
	for _, s := range subjects {
		if s.Installed && !o.Force {
			p.note(Note{ID: s.ID, Target: s.Target, Outcome: Ready, Reason: "already installed"})
			continue
		}
		reason := "not installed"
		if s.Installed {
			reason = "installed, but --force was given"
		}
		p.install(s, reason, "", false, nil)
	}
	return p
}

// install adds the steps that end with s installed and returns the index of
// the last. stale says why a build that is there does not count.
func (p *Plan) install(s Subject, reason, stale string, auto bool, needs []int) int {
	if !s.Built {
		build := Step{Kind: Build, ID: s.ID, Target: s.Target, Reason: "not built", Needs: needs, Auto: auto}
		if stale != "" {
			build.Reason = stale
		}
		needs = append(needs, p.Add(build))
	}
	return p.Add(Step{Kind: Install, ID: s.ID, Target: s.Target, Reason: reason, Needs: needs, Auto: auto})
}

// ForUninstall plans dkms uninstall.
func ForUninstall(subjects []Subject) *Plan {
	p := &Plan{}
	for _, s := range subjects {
		p.uninstall(s)
	}
	return p
}

func (p *Plan) uninstall(s Subject) []int {
	if !s.Installed {
		p.note(Note{ID: s.ID, Target: s.Target, Outcome: Ready, Reason: "not installed"})
		return nil
	}
	return []int{p.Add(Step{Kind: Uninstall, ID: s.ID, Target: s.Target, Reason: "installed"})}
}

// ForUnbuild plans dkms unbuild, which uninstalls first.
func ForUnbuild(subjects []Subject) *Plan {
	p := &Plan{}
	for _, s := range subjects {
		p.unbuild(s)
	}
	return p
}

func (p *Plan) unbuild(s Subject) []int {
	needs := p.uninstall(s)
	if !s.Built {
		p.note(Note{ID: s.ID, Target: s.Target, Outcome: Ready, Reason: "not built"})
		return needs
	}
	return []int{p.Add(Step{Kind: Unbuild, ID: s.ID, Target: s.Target, Reason: "built", Needs: needs})}
}

// ForRemove plans dkms remove: unbuild, and forget the version if no build of
// it is left. others says whether it has builds for kernels that are not among
// the subjects.
func ForRemove(id tree.ID, subjects []Subject, others bool) *Plan {
	p := &Plan{}
	var needs []int
	for _, s := range subjects {
		needs = append(needs, p.unbuild(s)...)
	}
	if others {
		p.note(Note{ID: id, Outcome: Ready, Reason: "still built for other kernels, which --all includes"})
		return p
	}
	p.Add(Step{Kind: Forget, ID: id, Reason: "no build is left", Needs: needs})
	return p
}

// ForSign plans dkms sign: new signatures for everything that is built. signer
// is the name on the certificate that is used now.
func ForSign(subjects []Subject, signer string) *Plan {
	p := &Plan{}
	for _, s := range subjects {
		if !s.Built {
			p.note(Note{ID: s.ID, Target: s.Target, Outcome: Ready, Reason: "not built"})
			continue
		}
		p.Add(Step{Kind: Sign, ID: s.ID, Target: s.Target, Reason: "to be signed by " + signer})
	}
	return p
}

// Candidate is the newest version of a module package, for autoinstall.
type Candidate struct {
	Subject
	// Stale says why a build that is there does not count; empty if it does.
	Stale string
	// Err says why its dkms.conf cannot be used; the fields below it are
	// then unknown.
	Err error
	// Wanted is AUTOINSTALL.
	Wanted bool
	// Excluded says what keeps it from this kernel; empty if nothing does.
	Excluded string
	// Depends are the names of BUILD_DEPENDS.
	Depends []string
}

// ForAutoinstall plans what is missing for one kernel, dependencies first.
// candidates come in the order of the tree. headers is what keeps modules from
// being built for the kernel, or nil.
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
	// done maps a satisfied module to the steps that will have made it so.
	done map[string][]int
}

// classify settles what needs no step and queues the rest.
func (a *autoinstall) classify(c Candidate) {
	note := Note{ID: c.ID, Target: c.Target}
	switch {
	case c.Installed:
		a.done[c.ID.Name] = nil
		note.Outcome, note.Reason = Ready, "already installed"
	case c.Err != nil:
		note.Outcome, note.Err = Failed, c.Err
	case !c.Wanted:
		note.Outcome, note.Reason = Unwanted, "AUTOINSTALL is not set in its dkms.conf"
	case c.Excluded != "":
		a.done[c.ID.Name] = nil
		note.Outcome, note.Reason = Skipped, c.Excluded
	default:
		a.queue = append(a.queue, c)
		return
	}
	a.plan.note(note)
}

// round plans the queued modules whose dependencies were satisfied when it
// began, as the original tries them.
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
		if !c.Built && a.headers != nil {
			a.plan.note(Note{ID: c.ID, Target: c.Target, Outcome: Failed, Err: a.headers})
			continue
		}
		var needs []int
		for _, d := range c.Depends {
			needs = append(needs, a.done[d]...)
		}
		reason := "not installed"
		if c.Stale != "" {
			reason = c.Stale
		}
		a.done[c.ID.Name] = []int{a.plan.install(c.Subject, reason, c.Stale, true, needs)}
		progress = true
	}
	return progress
}

func (a *autoinstall) missing(c Candidate) (names []string) {
	for _, d := range c.Depends {
		if _, ok := a.done[d]; !ok {
			names = append(names, d)
		}
	}
	return names
}

// leftOver explains a module whose dependencies were never satisfied: one that
// is not registered may still come, any other will not.
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

// Append adds the steps and notes of another plan behind those of p.
func (p *Plan) Append(other *Plan) {
	base := len(p.Steps)
	for _, s := range other.Steps {
		needs := make([]int, len(s.Needs))
		for i, n := range s.Needs {
			needs[i] = base + n
		}
		s.Needs = needs
		p.Steps = append(p.Steps, s)
	}
	p.Notes = append(p.Notes, other.Notes...)
}
