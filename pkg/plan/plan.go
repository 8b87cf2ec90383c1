// Package plan decides what has to be done, and why, before anything is done.
//
// It guarantees that a plan depends only on the given facts, that its steps can
// be carried out one after the other in their order, and that the plan contains
// the reason for everything that it leaves out.
package plan

import (
	"fmt"
	"slices"

	"dkms/pkg/tree"
)

// Kind is what a step does.
type Kind int

// The kinds of steps.
const (
	Build Kind = iota
	Install
	Uninstall
	// Restore installs a previous build again.
	Restore
	Unbuild
	Forget
	Sign
	// Index, Initramfs, Load and Command close a plan: depmod, the initramfs,
	// modprobe for devices without a driver, the administrator's command. A run
	// carries them out if a step before them has changed something.
	Index
	Initramfs
	Load
	Command
)

func (k Kind) String() string {
	return [...]string{"build", "install", "uninstall", "restore", "unbuild", "forget", "sign", "depmod", "initramfs", "load", "post_transaction"}[k]
}

// Closing reports whether a step is about a whole run or kernel.
func (k Kind) Closing() bool { return k >= Index }

// Step is one change to one module version, for one kernel unless it is a
// Forget.
type Step struct {
	Kind   Kind
	ID     tree.ID
	Target tree.Target
	// Reason says in a few words why the step is needed.
	Reason string
	// Needs are the indexes of earlier steps that must have succeeded.
	Needs []int
	// Auto marks a step of autoinstall.
	Auto bool
	// Replaces says that a build, or an installation, exists already.
	Replaces bool
}

// Outcome is the result for a module version and a kernel.
type Outcome int

// The outcomes. A plan sets them for what it leaves out, a run for the rest.
const (
	// Ready: the requested state holds already.
	Ready Outcome = iota
	// Changed: the run has brought about the requested state.
	Changed
	// Skipped: not meant for this kernel.
	Skipped
	// Deferred: waits for a module that is not registered yet.
	Deferred
	// Failed: not done, see the error.
	Failed
	// Unwanted: registered but not to be installed on its own.
	Unwanted
	// Held: held back because its installation was undone.
	Held
)

// Note is a module version that needs no step, or for which none is possible.
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

// Subject is the present state of a module version for a kernel.
type Subject struct {
	ID     tree.ID
	Target tree.Target
	// Built says that there is a build, and Installed that this build is
	// installed. Stale is why the build does not count, Unsound why the
	// installation does not; they are empty otherwise.
	Built, Installed bool
	Stale, Unsound   string
	// Dependents must be built again after this version is installed.
	Dependents []Dependent
}

// Dependent is a version that was built against another version of a package
// and asks to be rebuilt with the installed version (BUILD_DEPENDS_REBUILD).
type Dependent struct {
	ID tree.ID
	// Against is the version that the dependent was built against.
	Against   string
	Installed bool
}

// Options are the caller's options beyond the verb.
type Options struct {
	Force bool
}

// BuiltAgainst begins the reason of a rebuild after a dependency has changed.
const BuiltAgainst = "was built against"

// Forced is the reason of a rebuild although the present build counts.
const Forced = "built, but --force was given"

// ForBuild plans dkms build.
func ForBuild(subjects []Subject, o Options) *Plan {
	p := &Plan{}
	for _, s := range subjects {
		switch {
		case !s.Built || s.Stale != "":
			p.build(s, nil, false)
		case o.Force:
			p.Add(Step{Kind: Build, ID: s.ID, Target: s.Target, Reason: Forced, Replaces: true})
		default:
			p.note(Note{ID: s.ID, Target: s.Target, Outcome: Ready, Reason: "already built"})
		}
	}
	return p
}

func (p *Plan) build(s Subject, needs []int, auto bool) int {
	reason := "not built"
	if s.Stale != "" {
		reason = s.Stale
	}
	return p.Add(Step{Kind: Build, ID: s.ID, Target: s.Target, Reason: reason, Needs: needs, Auto: auto, Replaces: s.Built})
}

// ForInstall plans dkms install, which first builds a module without a build.
func ForInstall(subjects []Subject, o Options) *Plan {
	p := &Plan{}
	for _, s := range subjects {
		sound := s.Installed && s.Unsound == ""
		if sound && !o.Force {
			p.note(Note{ID: s.ID, Target: s.Target, Outcome: Ready, Reason: "already installed"})
			continue
		}
		reason := s.notInstalled()
		if sound {
			reason = "installed, but --force was given"
		}
		p.install(s, reason, false, nil)
		if !o.Force { // --force concerns this version only, not its dependents
			p.rebuild(s)
		}
	}
	return p
}

func (s Subject) notInstalled() string {
	switch {
	case s.Unsound != "":
		return s.Unsound
	case s.Stale != "":
		return s.Stale
	}
	return "not installed"
}

// install adds the steps that install s and returns the index of the last one.
func (p *Plan) install(s Subject, reason string, auto bool, needs []int) int {
	if !s.Built || s.Stale != "" {
		needs = append(needs, p.build(s, needs, auto))
	}
	return p.Add(Step{Kind: Install, ID: s.ID, Target: s.Target, Reason: reason, Needs: needs, Auto: auto, Replaces: s.Installed})
}

// rebuild adds the steps that update the dependents of s. The last step so far
// must be the installation of s. The old builds stay until the new ones are
// ready. If a rebuild fails, only that package fails.
func (p *Plan) rebuild(s Subject) {
	last := len(p.Steps) - 1
	for _, d := range s.Dependents {
		planned := slices.ContainsFunc(p.Steps, func(o Step) bool { return o.Kind == Build && o.ID == d.ID && o.Target == s.Target })
		if planned || d.Against == s.ID.Version {
			continue
		}
		p.Notes = slices.DeleteFunc(p.Notes, func(n Note) bool { return n.ID == d.ID && n.Target == s.Target && n.Outcome == Ready })
		reason := fmt.Sprintf(BuiltAgainst+" %s/%s, and %s is installed now", s.ID.Name, d.Against, s.ID)
		build := p.Add(Step{Kind: Build, ID: d.ID, Target: s.Target, Reason: reason, Needs: []int{last}, Replaces: true})
		if d.Installed {
			p.Add(Step{Kind: Install, ID: d.ID, Target: s.Target, Reason: reason, Needs: []int{build}, Replaces: true})
		}
	}
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

// ForRemove plans dkms remove: unbuild, then forget the version if it has no
// builds left. others says whether it has builds for kernels that are not among
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

// Unneeded is something that nothing needs any more: builds of a version, or
// with Forget the version itself with all its builds.
type Unneeded struct {
	ID       tree.ID
	Subjects []Subject
	Forget   bool
	Reason   string
}

// ForGC plans dkms gc.
func ForGC(list []Unneeded) *Plan {
	all := &Plan{}
	for _, u := range list {
		p := ForUnbuild(u.Subjects)
		if u.Forget {
			p = ForRemove(u.ID, u.Subjects, false)
		}
		p.Notes = nil
		for i := range p.Steps {
			p.Steps[i].Reason = u.Reason
		}
		all.Append(p)
	}
	return all
}

// ForSign plans dkms sign: new signatures for everything that is built. signer
// is the name on the certificate in use now.
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

// Append appends the steps and notes of another plan to p.
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

// Count returns how many of the first n steps are of kind k.
func (p *Plan) Count(k Kind, n int) int {
	count := 0
	for _, s := range p.Steps[:n] {
		if s.Kind == k {
			count++
		}
	}
	return count
}
