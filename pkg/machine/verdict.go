package machine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/plan"
	"dkms/pkg/tree"
)

// Verdict is the state of a package for a kernel: the version that counts
// there, and its health.
type Verdict struct {
	tree.ID
	Health
	// Newer is the verdict on the newest version, if this one serves in its
	// place until that is installed.
	Newer *Verdict
}

// Subjects are versions in the form that a plan needs: a build or an
// installation that is not Ready does not count.
func (f *Facts) Subjects(id tree.ID, targets []tree.Target) []plan.Subject {
	list := make([]plan.Subject, len(targets))
	for i, t := range targets {
		list[i] = f.subject(Subject{id, t})
	}
	return list
}

func (f *Facts) subject(s Subject) plan.Subject {
	mod := f.Module(s)
	p := plan.Subject{ID: s.ID, Target: s.Target, Built: mod.Built, Installed: mod.Active}
	if h := mod.Installed(); mod.Active && !h.OK() {
		p.Unsound = h.stepReason()
	}
	if mod.Built && (!mod.Active || p.Unsound != "") {
		if h := mod.Build(); !h.OK() {
			p.Stale = h.stepReason()
		}
	}
	if !p.Installed || p.Unsound != "" {
		p.Dependents = f.dependents(s)
	}
	return p
}

// stepReason is the reason that a step is planned for.
func (h Health) stepReason() string {
	if h.State == Outdated {
		return h.Reason
	}
	return h.Why()
}

// Forced adds the effect of --force to subjects: their builds are checked even
// if their installation is Ready.
func (f *Facts) Forced(list []plan.Subject) []plan.Subject {
	for i, p := range list {
		mod := f.Module(Subject{p.ID, p.Target})
		if h := mod.Build(); p.Built && !h.OK() {
			list[i].Stale = h.stepReason()
		}
	}
	return list
}

// dependents are the versions that were built against another version of a
// package and must be built again for this one.
func (f *Facts) dependents(s Subject) []plan.Dependent {
	var list []plan.Dependent
	for _, v := range f.Registered() {
		against := f.m.Tree.RecordedDepend(v.ID, s.Target, s.Name)
		if against == "" || against == s.Version || v.State != tree.Added {
			continue
		}
		if mod := f.Module(Subject{v.ID, s.Target}); mod.Built {
			list = append(list, plan.Dependent{ID: v.ID, Against: against, Installed: mod.Active})
		}
	}
	return list
}

// PlanAutoinstall plans what is missing for some kernels. force repeats what
// failed before. The needed configurations are read in one go.
func (f *Facts) PlanAutoinstall(ctx context.Context, targets []tree.Target, force bool) *plan.Plan {
	return f.planAll(ctx, targets, force, false)
}

// PlanOne plans for a kernel the installation of one package, of what it needs
// and of what needs it, whether or not they have AUTOINSTALL.
func (f *Facts) PlanOne(ctx context.Context, t tree.Target, name string) *plan.Plan {
	p := f.planAll(ctx, []tree.Target{t}, true, true)
	p.Only(func(id tree.ID) bool { return id.Name == name })
	return p
}

func (f *Facts) planAll(ctx context.Context, targets []tree.Target, force, wanted bool) *plan.Plan {
	choices := f.choices(ctx, targets)
	whole := &plan.Plan{}
	for _, t := range targets {
		var candidates []plan.Candidate
		for _, s := range choices[t] {
			c := f.candidate(ctx, s, force)
			c.Wanted = c.Wanted || wanted
			candidates = append(candidates, c)
		}
		whole.Append(plan.ForAutoinstall(candidates, f.m.CheckHeaders(t)))
	}
	return whole
}

// choices are the versions that count for each kernel, in the order of the
// tree: the newest version of a package or, if that is not meant for the
// kernel, the newest older version that is.
func (f *Facts) choices(ctx context.Context, targets []tree.Target) map[tree.Target][]Subject {
	var open []Subject
	for _, p := range f.Packages() {
		for _, t := range targets {
			if id, ok := p.Newest(); ok && !f.Module(Subject{id, t}).Installed().OK() {
				open = append(open, Subject{id, t})
			}
		}
	}
	f.Confs(ctx, open)
	list := map[tree.Target][]Subject{}
	for _, p := range f.Packages() {
		for _, t := range targets {
			list[t] = append(list[t], f.choose(ctx, p.Usable(), t)...)
		}
	}
	return list
}

// choose selects the version of a package that counts for a kernel. If a newer
// version is not meant for the kernel and an older one is, the newer one comes
// first in the list.
func (f *Facts) choose(ctx context.Context, ids []tree.ID, t tree.Target) []Subject {
	var passed []Subject
	for _, id := range ids {
		s := Subject{id, t}
		passed = append(passed, s)
		mod := f.Module(s)
		if !mod.Active && f.Held(s) != nil {
			if f.m.Tree.Active(s.Name, t) == "" {
				return passed // nothing was installed before it, either
			}
			continue
		}
		if mod.Installed().OK() || f.excluded(ctx, s) == "" {
			return passed
		}
	}
	return passed[:min(1, len(passed))]
}

// excluded is the directive that excludes a version from a kernel, or "".
func (f *Facts) excluded(ctx context.Context, s Subject) string {
	res := f.Conf(ctx, s)
	if res.Err != nil {
		return ""
	}
	return f.m.Excluded(res.Conf, s.Target)
}

// Conf is the configuration of one subject.
func (f *Facts) Conf(ctx context.Context, s Subject) conf.Result {
	return f.Confs(ctx, []Subject{s})[s]
}

func (f *Facts) candidate(ctx context.Context, s Subject, force bool) plan.Candidate {
	c := plan.Candidate{Subject: f.subject(s)}
	if c.Installed && c.Unsound == "" {
		return c
	}
	res := f.Conf(ctx, s)
	if res.Err != nil {
		c.Err = withID(s.ID, res.Err)
		return c
	}
	c.Wanted = res.Conf.Autoinstall
	c.Excluded = f.m.Excluded(res.Conf, s.Target)
	if !c.Installed && !force {
		c.Held, _ = heldBack(f, s)
	}
	for _, d := range res.Conf.BuildDepends {
		c.Depends = append(c.Depends, strings.Fields(d)...)
	}
	usable := c.Built && c.Stale == ""
	if usable || !c.Wanted || c.Excluded != "" || c.Held != "" || force || f.m.Framework.PrebuiltSource != "" {
		return c // with a prebuilt_source, a module need not be built here
	}
	if failure := f.m.TriedBefore(ctx, s, res.Conf); failure != nil {
		c.Err = notAgain(s, failure)
	}
	return c
}

// TriedBefore is the failure of an earlier build from the same inputs, or nil:
// the same inputs would fail again.
func (m *Machine) TriedBefore(ctx context.Context, s Subject, c *conf.Module) *tree.Failure {
	f := m.Tree.Failure(s.ID, s.Target)
	if f == nil || f.Fingerprint == "" {
		return nil
	}
	in, err := m.Inputs(ctx)
	if err != nil {
		return nil
	}
	now, err := in.Fingerprint(build.Job{ID: s.ID, Kernel: m.Kernel(s.Target), Conf: c})
	if err != nil || now != f.Fingerprint {
		return nil
	}
	return f
}

// NotAgain is the error of a build that is not tried again, see
// [Machine.TriedBefore].
func (m *Machine) NotAgain(s Subject, f *tree.Failure) error { return notAgain(s, f) }

// OnRecord tells whether an error is a failure that is already recorded.
func OnRecord(err error) bool {
	_, ok := errors.AsType[*known](err)
	return ok
}

// Verdicts lists the verdicts on all packages for a kernel, the broken ones
// first.
func (f *Facts) Verdicts(ctx context.Context, t tree.Target) []Verdict {
	var list []Verdict
	required := f.SignaturesRequired(t)
	for _, id := range f.Broken() {
		list = append(list, ofBroken(ctx, f, id, t, required))
	}
	p := f.PlanAutoinstall(ctx, []tree.Target{t}, false)
	for _, n := range p.Notes {
		list = append(list, f.ofNote(ctx, n, required))
	}
	for _, s := range p.Steps {
		if s.Kind == plan.Install {
			list = append(list, f.ofStep(ctx, s, required))
		}
	}
	return append(f.oneEach(list, t), restored(ctx, f, list, t, required)...)
}

// oneEach removes the verdict on a version that is not meant for the kernel, or
// is held back, if there is a verdict on another version of its package.
func (f *Facts) oneEach(list []Verdict, t tree.Target) []Verdict {
	all := slices.Clone(list)
	return slices.DeleteFunc(list, func(v Verdict) bool {
		return slices.ContainsFunc(all, func(o Verdict) bool {
			switch {
			case o.Name != v.Name:
				return false
			case o.ID == v.ID: // what holds back a newer version is said once
				return v.State == Ready && v.Reason == "" && o.Reason != ""
			case v.State == Excluded:
				return o.State != Excluded && o.State != BrokenSource
			}
			return v.State == Missing && f.Held(Subject{v.ID, t}) != nil
		})
	})
}

// ofNote is the verdict on a module that needs no step, or can have none.
func (f *Facts) ofNote(ctx context.Context, n plan.Note, required bool) Verdict {
	v := Verdict{ID: n.ID}
	switch n.Outcome {
	case plan.Ready:
		mod := f.Module(Subject{n.ID, n.Target})
		v.Health = f.serves(ctx, mod, required)
		return v
	case plan.Skipped:
		v.State, v.Reason = Excluded, n.Reason
		return v
	case plan.Unwanted:
		v.State, v.Reason = Unwanted, n.Reason
		return v
	case plan.Held:
		_, hint := heldBack(f, Subject{n.ID, n.Target})
		v.Health = Health{State: Missing, Reason: n.Reason, Hint: hint}
	case plan.Deferred:
		v.Health = Health{State: Waiting, Reason: n.Reason, Hint: "dkms add DIRECTORY registers what it needs, then dkms autoinstall -k " + f.m.KernelArg(n.Target)}
	default:
		v.Health = failed(n.Err)
		if exit.Status(n.Err) == exit.NoHeaders && f.m.Installed(n.Target) {
			if mod := f.Module(Subject{n.ID, n.Target}); mod.Active && !mod.Installed().OK() {
				v.Health = mod.Installed() // and without headers it stays so
			}
			v.Hint = f.m.HeadersCure(n.Target, n.Err) + ", then dkms autoinstall -k " + f.m.KernelArg(n.Target)
		}
	}
	return f.orOlder(ctx, v, Subject{n.ID, n.Target}, required)
}

// serves is the health of an installed version at the next start of the kernel:
// its files, their signatures if this machine requires them, and their copies in
// the initramfs.
func (f *Facts) serves(ctx context.Context, mod *Module, required bool) Health {
	installed := mod.Installed()
	h := installed
	if h.OK() && required {
		h = f.Signature(ctx, mod)
	}
	if h.OK() {
		h = f.InImages(mod)
	}
	if h.OK() {
		return installed // with its reason
	}
	return h
}

// ofStep is the verdict on a module that autoinstall would install.
func (f *Facts) ofStep(ctx context.Context, s plan.Step, required bool) Verdict {
	mod := f.Module(Subject{s.ID, s.Target})
	v := Verdict{ID: s.ID, Health: Health{State: Missing, Reason: s.Reason}}
	switch failure := f.m.Tree.Failure(s.ID, s.Target); {
	case mod.Active && !mod.Installed().OK():
		v.Health = mod.Installed()
	case mod.Active: // it has to be built again for another version of its dependency
		v.Health = Health{State: Outdated, Reason: s.Reason}
	case failure != nil:
		v.Health = Health{State: Failed, Reason: failure.Message}
		if failure.Fingerprint == "" { // the cause was not among the inputs of the build
			v.Hint = failure.Hint
		}
	}
	if v.Hint == "" {
		v.Hint = "dkms autoinstall -k " + f.m.KernelArg(s.Target)
	}
	return f.orOlder(ctx, v, mod.Subject, required)
}

// If the newest version of a package is not installed, an older version that is
// installed and Ready serves the kernel. orOlder returns the verdict on the
// older version in that case, and v otherwise.
func (f *Facts) orOlder(ctx context.Context, v Verdict, s Subject, required bool) Verdict {
	active := f.m.Tree.Active(s.Name, s.Target)
	if active == "" || active == s.Version {
		return v
	}
	older := f.Module(Subject{tree.ID{Name: s.Name, Version: active}, s.Target})
	switch h := f.serves(ctx, older, required); {
	case h.State == Stale:
		return Verdict{ID: older.ID, Health: h}
	case !h.OK():
		return v
	}
	if f.Held(s) != nil {
		return Verdict{ID: older.ID, Health: Health{State: Ready, Reason: v.Reason, Hint: v.Hint}}
	}
	what := "is not installed"
	switch v.State {
	case Failed:
		what = "does not build"
	case Waiting:
		what = "waits"
	}
	reason := fmt.Sprintf("%s %s", s.ID.Version, what)
	if v.Reason != "" && v.Reason != "not installed" {
		reason += ": " + f.m.Brief(s, v.Reason)
	}
	return Verdict{older.ID, Health{State: Ready, Reason: reason, Hint: v.Hint}, &v}
}
