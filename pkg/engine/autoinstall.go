package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/install"
	"dkms/pkg/kernel"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// autoinstall installs what is missing. It looks before it locks: with nothing
// to do, nothing is written and no program is started.
func (e *Engine) autoinstall(ctx context.Context, req *Request) (code exit.Code, err error) {
	if system.IsFile(e.host.Root.Path("/etc/dkms/no-autoinstall")) {
		e.report.Progressf("automatic installation is switched off by /etc/dkms/no-autoinstall")
		return exit.OK, nil
	}
	targets, err := e.oneKernel(req)
	if err != nil {
		return 0, err
	}
	idle, err := e.idle(targets)
	if err != nil || idle {
		return exit.OK, err
	}
	err = e.locking(ctx, req, func() error {
		if !req.DryRun {
			e.mendIndexes(targets)
		}
		p, confs, broken, err := e.planAutoinstall(ctx, targets, req.Force)
		if err != nil {
			return err
		}
		for _, id := range broken {
			err := e.broken(id)
			e.report.Emit(report.Event{Kind: report.Failure, Module: id.String(), Text: err.Error(), Err: err})
		}
		r, err := e.carryOut(ctx, req, p, confs)
		if err != nil {
			return err
		}
		code = r.summary(targets)
		return nil
	})
	return code, err
}

// newest are the newest usable versions of every package, in tree order, and
// the broken ones that were passed over.
func (e *Engine) newest() (list []tree.ID, broken []tree.ID, err error) {
	names, err := e.tree.Names()
	for _, name := range names {
		versions, unread := e.tree.Known(name)
		err = errors.Join(err, unread)
		id, known, bad := newestOf(versions)
		if known {
			list = append(list, id)
		}
		broken = append(broken, bad...)
	}
	return list, broken, err
}

// newestOf is the newest usable version of a package, if it has one.
func newestOf(versions []tree.Version) (id tree.ID, known bool, broken []tree.ID) {
	for _, v := range versions {
		switch {
		case v.State == tree.Broken:
			broken = append(broken, v.ID)
		case v.State == tree.Added && (!known || version.Compare(v.ID.Version, id.Version) > 0):
			id, known = v.ID, true
		}
	}
	return id, known, broken
}

// idle reports whether every package is installed for every target, and no
// interrupted run has left anything to do. Every boot waits for the answer: the
// processors share the packages.
func (e *Engine) idle(targets []tree.Target) (bool, error) {
	if install.Unfinished(e.tree) || e.tree.Busy() || len(e.tree.Pending()) > 0 {
		return false, nil
	}
	names, err := e.tree.Names()
	if err != nil {
		return false, err
	}
	now, indexes := make([]headers, len(targets)), make([]install.Index, len(targets))
	for i, t := range targets {
		now[i], indexes[i] = e.headersNow(t), e.index(t)
	}
	var next atomic.Int64
	var busy atomic.Bool
	look := func() {
		for i := next.Add(1) - 1; i < int64(len(names)) && !busy.Load(); i = next.Add(1) - 1 {
			if !e.settled(names[i], targets, now, indexes) {
				busy.Store(true)
			}
		}
	}
	var others sync.WaitGroup
	for range min(e.host.CPUs, len(names)*len(targets)/sharing) - 1 {
		others.Go(look)
	}
	look()
	others.Wait()
	return !busy.Load(), nil
}

// sharing is how many installed modules are worth a thread to look at them.
const sharing = 8

// settled tells whether nothing is to be done for a package; now and indexes
// are the headers and module indexes of the targets.
func (e *Engine) settled(name string, targets []tree.Target, now []headers, indexes []install.Index) bool {
	versions, err := e.tree.Known(name)
	id, known, broken := newestOf(versions)
	if err != nil || len(broken) > 0 {
		return false
	}
	for i, t := range targets {
		if !known {
			break
		}
		if !e.sound(id, t, now[i], indexes[i]) {
			return false
		}
	}
	return true
}

// sound tells whether a version is installed, its files are still there as
// they were put there and in the index, and the headers are those that it was
// built with. What the original built and installed is taken at its word.
func (e *Engine) sound(id tree.ID, t tree.Target, now headers, index install.Index) bool {
	if !e.tree.IsInstalled(id, t) {
		return false
	}
	m, err := e.tree.Manifest(id, t)
	if err != nil || m == nil {
		return err == nil
	}
	return e.installer.Sound(m, index, e.host.Now()) && !e.outOfDate(m, now)
}

// headers are those of a kernel, with their stamp as it is now: a missing one
// where there are none.
type headers struct {
	kernel *kernel.Kernel
	stamp  tree.Stamp
}

func (e *Engine) headersNow(t tree.Target) headers {
	h := headers{kernel: e.kernel(t)}
	if h.kernel.HasHeaders() {
		h.stamp = build.HeadersStamp(h.kernel)
	}
	return h
}

// headersChanged is why a build counts no more that [Engine.outOfDate] is true
// of.
const headersChanged = "the headers of the kernel have changed since it was built"

// outOfDate tells whether the headers of a kernel changed, under the same
// release, since a build was made: its symbol versions may not fit any more.
func (e *Engine) outOfDate(m *tree.Manifest, now headers) bool {
	if m.Headers == "" || now.stamp.Missing() || now.stamp == m.HeadersStamp {
		return false
	}
	return build.KernelInputs(now.kernel, e.run) != m.Headers
}

// known is a failure that is on record already.
type known struct{ error }

// Unwrap gives the underlying error to [errors.Is] and [errors.As].
func (k *known) Unwrap() error { return k.error }

// triedBefore is the failure of an earlier build from the same inputs, or nil:
// what did not compile yesterday does not today.
func (e *Engine) triedBefore(ctx context.Context, s subject, c *conf.Module) *tree.Failure {
	f := e.tree.Failure(s.ID, s.Target)
	if f == nil || f.Fingerprint == "" {
		return nil
	}
	b, err := e.builder(ctx, false)
	if err != nil {
		return nil
	}
	now, err := b.Fingerprint(build.Job{ID: s.ID, Kernel: e.kernel(s.Target), Conf: c})
	if err != nil || now != f.Fingerprint {
		return nil
	}
	return f
}

// planAutoinstall reads what is needed of the packages that are not installed,
// with one bash for all packages and kernels, and plans for every kernel. The
// versions whose sources are lost are given back.
func (e *Engine) planAutoinstall(ctx context.Context, targets []tree.Target, force bool) (*plan.Plan, map[subject]conf.Result, []tree.ID, error) {
	list, broken, err := e.newest()
	if err != nil {
		return nil, nil, nil, err
	}
	var open []subject
	for _, t := range targets {
		now := e.headersNow(t)
		for _, id := range list {
			if !e.sound(id, t, now, install.Index{}) {
				open = append(open, subject{id, t})
			}
		}
	}
	confs := map[subject]conf.Result{}
	for i, res := range e.confs(ctx, open, e.confFile) {
		confs[open[i]] = res
	}
	whole := &plan.Plan{}
	for _, t := range targets {
		var candidates []plan.Candidate
		for _, id := range list {
			candidates = append(candidates, e.candidate(ctx, subject{id, t}, confs, force))
		}
		whole.Append(plan.ForAutoinstall(candidates, e.headersFor(t)))
	}
	return whole, confs, broken, nil
}

func (e *Engine) candidate(ctx context.Context, s subject, confs map[subject]conf.Result, force bool) plan.Candidate {
	c := plan.Candidate{Subject: plan.Subject{ID: s.ID, Target: s.Target, Built: e.tree.IsBuilt(s.ID, s.Target)}}
	if m, err := e.tree.Manifest(s.ID, s.Target); c.Built && err == nil && m != nil && e.outOfDate(m, e.headersNow(s.Target)) {
		c.Built, c.Stale = false, headersChanged
	}
	res, open := confs[s]
	if open && c.Built && !e.installer.Intact(s.ID, s.Target) {
		c.Built, c.Stale = false, "the build in the dkms tree is damaged"
	}
	switch {
	case !open:
		c.Installed = true
	case res.Err != nil:
		c.Err = withHint(fmt.Errorf("%s: %w", s.ID, res.Err))
	default:
		k := e.kernel(s.Target)
		c.Wanted = res.Conf.Autoinstall
		_, c.Excluded = res.Conf.Excluded(build.ConfTarget(k, false), configOf(k))
		for _, d := range res.Conf.BuildDepends {
			c.Depends = append(c.Depends, strings.Fields(d)...)
		}
		if c.Built || !c.Wanted || c.Excluded != "" || force || e.framework.PrebuiltSource != "" {
			break // with a prebuilt_source a module need not be built here
		}
		if f := e.triedBefore(ctx, s, res.Conf); f != nil {
			c.Err = notAgain(s, f)
		}
	}
	return c
}

// notAgain is the failure of an earlier build, as the answer to why there is no
// other one.
func notAgain(s subject, f *tree.Failure) error {
	return &known{exit.Errorf(exit.Code(f.Code), "%s\n  not tried again: nothing has changed since %s", f.Message, f.Time.Local().Format("2006-01-02 15:04")).
		WithHint("dkms build %s -k %s tries again and shows why it fails", s.ID, s.Kernel)}
}

// summary prints how every package fared, a line for each outcome, and gives
// the exit status: 11 when anything failed or, when all that failed is for
// want of headers, 21.
func (r *run) summary(targets []tree.Target) exit.Code {
	headersOnly, failed := true, false
	for _, t := range targets {
		lists := map[plan.Outcome][]string{}
		for _, s := range r.order {
			if s.Target != t {
				continue
			}
			res := r.results[s]
			word := s.ID.String()
			if res.outcome == plan.Failed {
				failed = true
				headersOnly = headersOnly && exit.Status(res.err) == exit.NoHeaders
				word = fmt.Sprintf("%s (%d)", s.ID, exit.Status(res.err))
			}
			lists[res.outcome] = append(lists[res.outcome], word)
		}
		r.summaryLines(t, lists)
	}
	switch {
	case !failed:
		return exit.OK
	case headersOnly:
		return exit.NoHeaders
	}
	return exit.SomeFailed
}

func (r *run) summaryLines(t tree.Target, lists map[plan.Outcome][]string) {
	for _, l := range []struct {
		outcome plan.Outcome
		text    string
		kind    report.Kind
	}{
		{plan.Ready, "was installed before", report.Detail},
		{plan.Changed, "installed", report.Progress},
		{plan.Skipped, "skipped, not for this kernel", report.Progress},
		{plan.Deferred, "waiting for modules that are not registered yet", report.Progress},
		{plan.Failed, "failed", report.Failure},
	} {
		if len(lists[l.outcome]) > 0 {
			r.report.Emit(report.Event{Kind: l.kind, Kernel: t.Kernel, Arch: t.Arch,
				Text: fmt.Sprintf("kernel %s: %s: %s", t.Kernel, l.text, strings.Join(lists[l.outcome], ", "))})
		}
	}
}

// dropKernel carries out kernel_preinst, before a kernel is replaced, and
// kernel_prerm, before it goes: the builds for it are dropped.
func (e *Engine) dropKernel(ctx context.Context, req *Request) (code exit.Code, err error) {
	targets, err := e.oneKernel(req)
	if err != nil {
		return 0, err
	}
	t := targets[0]
	err = e.locking(ctx, req, func() error {
		subjects, err := e.buildsFor(ctx, t, req.Verb == KernelPreinst)
		if err != nil || len(subjects) == 0 {
			return err
		}
		r, err := e.carryOut(ctx, req, plan.ForUnbuild(subjects), nil)
		if err != nil {
			return err
		}
		if r.first(&plan.Plan{}) != exit.OK {
			code = exit.KernelHookFailed
		}
		system.RemoveEmptyDirs(e.kernel(t).ModuleDir(), e.host.Root.InstallTree())
		return nil
	})
	return code, err
}

// buildsFor lists the versions that have a build for a target; onlyAuto leaves
// out those that autoinstall would not bring back.
func (e *Engine) buildsFor(ctx context.Context, t tree.Target, onlyAuto bool) ([]plan.Subject, error) {
	all, err := e.tree.Registered()
	if err != nil {
		return nil, err
	}
	var subjects []subject
	for _, v := range all {
		if e.tree.IsBuilt(v.ID, t) {
			subjects = append(subjects, subject{v.ID, t})
		}
	}
	var confs []conf.Result
	if onlyAuto {
		confs = e.confs(ctx, subjects, e.confFile)
	}
	var list []plan.Subject
	for i, s := range subjects {
		if onlyAuto && (confs[i].Err != nil || !confs[i].Conf.Autoinstall) {
			continue
		}
		list = append(list, e.subjects(s.ID, []tree.Target{t})...)
	}
	return list, nil
}
