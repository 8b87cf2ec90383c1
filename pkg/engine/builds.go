package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// builds are the builds of a run. They are started as soon as what they need
// is there and a job is free, in the order of the plan; what they have to say,
// and what is done with them, waits for their turn.
type builds struct {
	pool *build.Pool
	// common is what they share, found out when the first one is to start.
	common  func() (*build.Builder, error)
	under   map[int]*underway
	running sync.WaitGroup
}

// underway is a build that has been started.
type underway struct {
	turn    func() // to be called before anything is said of the build
	done    chan struct{}
	err     error
	elapsed time.Duration
	// settled says that there is nothing to record.
	settled bool
}

// newBuilds makes room for the builds of a plan.
func (r *run) newBuilds(ctx context.Context, p *plan.Plan) *builds {
	n := 0
	for _, s := range p.Steps {
		if s.Kind == plan.Build {
			n++
		}
	}
	b := &builds{pool: build.NewPool(r.framework.Jobs(r.host), r.host.CPUs, n > 1), under: map[int]*underway{}}
	b.common = sync.OnceValues(func() (*build.Builder, error) {
		common, err := r.builder(ctx, r.req.Force)
		if err != nil {
			return nil, err
		}
		common.Pool, common.Idle = b.pool, r.framework.IdleBuilds && inBackground(r.req.Verb)
		common.Confine, err = r.confinement(ctx)
		return common, err
	})
	return b
}

// end waits for what still runs.
func (b *builds) end() {
	b.running.Wait()
	b.pool.Close()
}

// startBuilds starts the builds that need nothing any more that is still to be
// done; now is the step whose turn it is.
func (r *run) startBuilds(ctx context.Context, p *plan.Plan, now int) {
	for i := now; i < len(p.Steps); i++ {
		s := p.Steps[i]
		ready := !slices.ContainsFunc(s.Needs, func(n int) bool { return n >= now || r.failed[n] })
		if s.Kind == plan.Build && ready && r.builds.under[i] == nil && !r.mustWait(p, now, i) {
			r.builds.under[i] = r.startBuild(ctx, subject{s.ID, s.Target})
		}
	}
}

// mustWait tells whether the build of step i has to wait for its turn: the
// hooks of a package that is not isolated are to run in the order of the plan.
func (r *run) mustWait(p *plan.Plan, now, i int) bool {
	s := p.Steps[i]
	if !slices.ContainsFunc(p.Steps[now:i], func(before plan.Step) bool { return before.ID == s.ID }) {
		return false
	}
	c := r.confs[subject{s.ID, s.Target}].Conf
	common, err := r.builds.common()
	return err != nil || common.Confine == nil || c == nil || c.NoSandbox
}

// startBuild makes sure that a build makes sense, and starts it.
func (r *run) startBuild(ctx context.Context, sub subject) *underway {
	ahead, turn := r.report.Ahead()
	u := &underway{turn: turn, done: make(chan struct{})}
	job, err := r.job(ctx, sub, ahead)
	var common *build.Builder
	if err == nil && job != nil {
		common, err = r.builds.common()
	}
	if err != nil || job == nil {
		u.err, u.settled = err, true
		close(u.done)
		return u
	}
	b := *common
	b.Report = ahead
	job.Turn = b.Pool.Queue()
	r.builds.running.Go(func() {
		defer close(u.done)
		u.err = r.runBuild(ctx, sub, &b, *job, u)
	})
	return u
}

func (r *run) runBuild(ctx context.Context, sub subject, b *build.Builder, job build.Job, u *underway) error {
	var start time.Time
	err := r.limited(ctx, sub.ID, func(ctx context.Context, begin func()) error {
		job.Begin = func(log string) {
			begin()
			start = r.host.Now()
			b.Report.Emit(report.Event{Kind: report.Progress, Module: sub.ID.String(), Kernel: sub.Kernel, Arch: sub.Arch, Step: "build",
				Text: fmt.Sprintf("%s: building for %s", sub.ID, sub.Target), Log: log})
		}
		_, err := b.Build(ctx, job)
		return err
	})
	if !start.IsZero() {
		u.elapsed = r.host.Now().Sub(start)
		b.Report.Rest(report.Event{Module: sub.ID.String(), Kernel: sub.Kernel, Arch: sub.Arch, Step: "build",
			Text: fmt.Sprintf("%s: waiting for its turn for %s", sub.ID, sub.Target)})
	}
	return err
}

// inBackground tells the verbs that nobody waits for.
func inBackground(v Verb) bool { return v == Autoinstall || v == KernelPostinst }

// job is what is to be built for a subject, or nil where there is nothing to
// build any more.
func (r *run) job(ctx context.Context, sub subject, to *report.Reporter) (*build.Job, error) {
	c, err := r.conf(sub)
	if err != nil {
		return nil, err
	}
	k := r.kernel(sub.Target)
	if err := notFor(sub, c, k); err != nil {
		return nil, err
	}
	if done, err := r.prebuilt(ctx, sub, c, k); done || err != nil {
		return nil, err
	}
	if err := k.CheckHeaders(r.distribution); err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", sub.ID, err))
	}
	if err := r.checkDepends(sub, c); err != nil {
		return nil, err
	}
	notes(to, c)
	signer, err := r.signer(ctx, sub.Target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sub.ID, err)
	}
	unsigned := func(err error) error { return r.unsigned(sub.Target, err) }
	return &build.Job{ID: sub.ID, Kernel: k, Conf: c, Signer: signer, Unsigned: unsigned}, nil
}

// notFor is an error where BUILD_EXCLUSIVE_* keeps a version from a kernel.
func notFor(sub subject, c *conf.Module, k *kernel.Kernel) error {
	if excluded, why := c.Excluded(build.ConfTarget(k, false), configOf(k)); excluded {
		return exit.Errorf(exit.Excluded, "%s: not for kernel %s: %s", sub.ID, sub.Kernel, why)
	}
	return nil
}

// notes passes on what the reader of a configuration noticed. Deprecated
// directives were warned of when the version was added, and only its author
// can do something about them.
func notes(to *report.Reporter, c *conf.Module) {
	for _, d := range c.Deprecated {
		to.Detailf("%s", d)
	}
	for _, w := range c.Warnings {
		to.Warnf("%s", w)
	}
}

// build waits for the build of step i, and records how it went.
func (r *run) build(i int, sub subject) (time.Duration, error) {
	u := r.builds.under[i]
	<-u.done
	u.turn()
	if u.err != nil || u.settled {
		return u.elapsed, r.locate(sub, u.err)
	}
	r.tree.ForgetFailure(sub.ID, sub.Target)
	return u.elapsed, r.tree.RecordDepends(sub.ID, sub.Target, r.dependsToRecord(r.confs[sub].Conf))
}

// locate has an error name the log of the build where it is now: that of
// another kernel may have taken its place.
func (r *run) locate(sub subject, err error) error {
	usual, log := r.tree.ScratchLog(sub.ID), r.failedLog(sub)
	if hint := exit.Hint(err); log != "" && log != usual && strings.Contains(hint, usual) {
		return exit.Errorf(exit.Status(err), "%w", err).WithHint("%s", strings.ReplaceAll(hint, usual, log))
	}
	return err
}

// failedLog is the log of the last build for a subject that has failed.
func (r *run) failedLog(sub subject) string {
	for _, a := range build.Attempts(r.tree, sub.ID) {
		if a.Failed && a.Target == sub.Target {
			return a.Path
		}
	}
	return ""
}

// limited ends what do does when it takes longer than a build may, from the
// time that it calls begin.
func (e *Engine) limited(ctx context.Context, id tree.ID, do func(ctx context.Context, begin func()) error) error {
	limit := e.framework.BuildTimeLimit
	if limit == 0 {
		return do(ctx, func() {})
	}
	over := exit.Errorf(exit.MakeFailed, "%s: the build took longer than %s and was ended", id, limit).
		WithHint("build_time_limit in framework.conf sets the limit")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var timer *time.Timer
	err := do(ctx, func() { timer = time.AfterFunc(limit, func() { cancel(over) }) })
	if timer != nil {
		timer.Stop()
	}
	if err != nil && context.Cause(ctx) == error(over) {
		return over
	}
	return err
}

// builder is what builds share. Those that are only asked for fingerprints
// need no more.
func (e *Engine) builder(ctx context.Context, force bool) (*build.Builder, error) {
	environment, err := e.reader.BuildEnvironment(ctx)
	return &build.Builder{
		Host: e.host, Tree: e.tree, Run: e.run, Report: e.report, Framework: e.framework,
		Environment: environment, Directives: e.directives(), Force: force,
	}, err
}

// confinement is how builds are kept from the rest of the system; nil is not
// at all.
func (e *Engine) confinement(ctx context.Context) (*build.Confinement, error) {
	wish := e.framework.BuildSandbox
	if wish == "no" || e.host.UID != 0 {
		return nil, nil
	}
	err := build.Probe(ctx, e.run)
	switch {
	case err == nil:
		return e.allowances()
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case wish == "require":
		return nil, exit.Errorf(exit.Usage, "builds cannot be isolated here: %w", err).
			WithHint("build_sandbox=yes in framework.conf builds all the same")
	}
	e.report.Progressf("builds are not isolated from this system: %v", err)
	return nil, nil
}

// allowances are what the admin lets confined builds have.
func (e *Engine) allowances() (*build.Confinement, error) {
	c := &build.Confinement{}
	for _, word := range e.framework.SandboxAllow {
		switch {
		case word == "network":
			c.Network = true
		case !system.IsDir(word):
			return nil, exit.Errorf(exit.BadConf, "%s: build_sandbox_allow: %s is not a directory", e.framework.Where("build_sandbox_allow"), word)
		default:
			c.Allow = append(c.Allow, word)
		}
	}
	if l := e.framework.CompilerLauncher; len(l) > 0 && !c.Network && slices.Contains([]string{"distcc", "icecc"}, filepath.Base(l[0])) {
		e.report.Warnf("compiler_launcher=%s compiles on this machine only, for builds have no network; build_sandbox_allow=network gives it to them", l[0])
	}
	return c, nil
}
