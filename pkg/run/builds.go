package run

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
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/system"
)

// builds are the builds of a run. A build starts as soon as its needs are met
// and a job is free, in the order of the plan. Its messages, and the steps that
// use it, wait for its turn.
type builds struct {
	pool *build.Pool
	// common returns what the builds share; it is evaluated when the first one
	// starts.
	common func() (*build.Builder, error)
	// readIndex starts to read the module index. It is called when the first
	// build starts, or at once where nothing is built.
	readIndex func()
	under     map[int]*underway
	running   sync.WaitGroup
}

// underway is a build that has been started.
type underway struct {
	turn    func(mend func(report.Event) report.Event) // passes the messages of the build on
	done    chan struct{}
	err     error
	elapsed time.Duration
	// changed says that there is a new build in the tree, here that it was made
	// on this machine.
	changed, here bool
}

// newBuilds prepares the builds of a plan.
func (x *executor) newBuilds(ctx context.Context) *builds {
	n := 0
	for _, s := range x.plan.Steps {
		if s.Kind == plan.Build {
			n++
		}
	}
	b := &builds{pool: build.NewPool(x.w.Framework.Jobs(x.w.Host), x.w.Host.CPUs, n > 1), under: map[int]*underway{}}
	if b.readIndex = indexReader(ctx, x.w, x.plan); n == 0 {
		b.readIndex()
	}
	probe := sync.OnceValue(func() error { return build.Probe(ctx, x.w.Run) })
	if n > 0 && wantsConfinement(x.w.Machine) {
		go probe() // which takes as long as the preparation of the first build
	}
	b.common = sync.OnceValues(func() (*build.Builder, error) {
		in, err := x.w.Inputs(ctx)
		if err != nil {
			return nil, err
		}
		common := &build.Builder{
			Inputs: in, Tree: x.w.Tree, Report: x.w.Report, Pool: b.pool,
			Idle: x.w.Framework.IdleBuilds && x.background, StandsFor: x.w.StandsFor,
		}
		common.Confine, err = confinement(ctx, x.w.Machine, probe)
		return common, err
	})
	return b
}

// indexReader is what starts to read the module index that a plan changes. The
// indexes of several kernels would take much memory, and none is read then.
func indexReader(ctx context.Context, w *machine.Writer, p *plan.Plan) func() {
	i := slices.IndexFunc(p.Steps, func(s plan.Step) bool { return s.Kind == plan.Index })
	if i < 0 || p.Count(plan.Index, len(p.Steps)) > 1 || !w.Depmod {
		return func() {}
	}
	return w.Installer.ReadIndex(ctx, w.Kernel(p.Steps[i].Target))
}

// end waits for the builds that still run.
func (b *builds) end() {
	b.running.Wait()
	b.pool.Close()
}

// startBuilds starts the builds that need no step that is still to be done; now
// is the step whose turn it is.
func (x *executor) startBuilds(ctx context.Context, now int) {
	for i := now; i < len(x.plan.Steps); i++ {
		s := x.plan.Steps[i]
		ready := !slices.ContainsFunc(s.Needs, func(n int) bool { return n >= now || x.failed[n] })
		if s.Kind == plan.Build && ready && x.builds.under[i] == nil && !x.mustWait(now, i) {
			x.builds.under[i] = x.startBuild(ctx, s)
		}
	}
}

// mustWait tells whether the build of step i has to wait for its turn: the
// hooks of a package that is not isolated must run in the order of the plan.
func (x *executor) mustWait(now, i int) bool {
	s := x.plan.Steps[i]
	if !slices.ContainsFunc(x.plan.Steps[now:i], func(before plan.Step) bool { return before.ID == s.ID }) {
		return false
	}
	return !x.builds.confines(x.confs[machine.Subject{ID: s.ID, Target: s.Target}].Conf)
}

// confines tells whether a build with this configuration is confined.
func (b *builds) confines(c *conf.Module) bool {
	common, err := b.common()
	return err == nil && common.Confine != nil && c != nil && !c.NoSandbox
}

// startBuild starts a build in the background, which may also find that no
// build is needed.
func (x *executor) startBuild(ctx context.Context, s plan.Step) *underway {
	ahead, turn := x.w.Report.Ahead()
	u := &underway{turn: turn, done: make(chan struct{})}
	sub := machine.Subject{ID: s.ID, Target: s.Target}
	seat := x.builds.pool.Queue()
	x.builds.running.Go(func() {
		defer close(u.done)
		u.err = x.obtain(ctx, s, sub, u, ahead, seat)
		if u.err != nil && ctx.Err() == nil {
			u.err = x.locate(sub, u.err)
			x.failure(ahead, sub, "build", u.err)
		}
	})
	return u
}

// obtain gets a build: from the source of builds, or by making it here.
func (x *executor) obtain(ctx context.Context, s plan.Step, sub machine.Subject, u *underway, to *report.Reporter, turn *build.Turn) error {
	defer turn.Leave()
	done, err := x.w.Tree.Building(ctx)
	if err != nil {
		return err
	}
	defer done()
	if x.meanwhile(s, sub) {
		return nil
	}
	x.sayAgain(s, to)
	c, err := x.conf(sub)
	if err != nil {
		return err
	}
	if err := x.w.CheckMeantFor(sub, c); err != nil {
		return err
	}
	if x.source != nil {
		if err := x.checkDepends(sub, c, to); err != nil {
			return err
		}
		if u.changed, err = x.source.Take(ctx, x.w, sub, c, to); u.changed || err != nil {
			return err
		}
	} else if !x.scratch {
		x.w.Tree.ForgetAnswer(sub.ID, sub.Target) // the answer was about another build
	}
	return x.make(ctx, sub, c, u, to, turn)
}

// sayAgain says why an existing build is made again. A damaged file in the
// build is a warning.
func (x *executor) sayAgain(s plan.Step, to *report.Reporter) {
	if !s.Replaces || s.Reason == plan.Forced {
		return
	}
	say := to.Warnf
	if outdated(s) != "" || strings.HasPrefix(s.Reason, plan.BuiltAgainst) {
		say = to.Progressf
	}
	say("%s: %s: building it again", s.ID, s.Reason)
}

// make builds a subject here.
func (x *executor) make(ctx context.Context, sub machine.Subject, c *conf.Module, u *underway, to *report.Reporter, turn *build.Turn) error {
	k := x.w.Kernel(sub.Target)
	if err := x.w.NeedHeaders(sub.Target); err != nil {
		return exit.Errorf(exit.Status(err), "%w", fmt.Errorf("%s: %w", sub.ID, err)).WithHint("%s", exit.Hint(err))
	}
	if err := x.checkDepends(sub, c, to); err != nil {
		return err
	}
	if !x.scratch {
		passOn(to, c, x.w.FreshWarnings(c))
	}
	job := build.Job{ID: sub.ID, Kernel: k, Conf: c, Turn: turn, Anew: x.Force}
	var err error
	if !x.scratch {
		job.Unsigned = func(err error) error { return unsigned(x.w.Machine, sub.Target, err) }
		if job.Signer, job.SignLater, err = x.signer(ctx, sub.Target); err != nil {
			return fmt.Errorf("%s: %w", sub.ID, err)
		}
	}
	common, err := x.builds.common()
	if err != nil {
		return err
	}
	b := *common
	b.Report = to
	u.here = true
	if err := x.runBuild(ctx, sub, &b, job, u); err != nil {
		return err
	}
	u.changed = true
	x.done(to, plan.Step{Kind: plan.Build, ID: sub.ID, Target: sub.Target}, u.elapsed)
	return nil
}

func (x *executor) runBuild(ctx context.Context, sub machine.Subject, b *build.Builder, job build.Job, u *underway) error {
	var start time.Time
	text := fmt.Sprintf("%s: building for %s", sub.ID, sub.Target)
	if x.scratch {
		text = fmt.Sprintf("%s: rehearsing the build for %s", sub.ID, sub.Target)
	}
	ev := report.Event{Kind: report.Progress, Module: sub.ID.String(), Kernel: sub.Kernel, Arch: sub.Arch, Step: plan.Build.String(), Text: text}
	job.Begin = func(log string) {
		start = x.w.Host.Now()
		ev.Log = log
		b.Report.Emit(ev)
		x.builds.readIndex()
	}
	job.Taken = func() {
		b.Report.Progressf("%s: taking the build for %s that was made before the transaction", sub.ID, sub.Target)
		x.builds.readIndex()
	}
	_, err := b.Build(ctx, job)
	if !start.IsZero() {
		u.elapsed = x.w.Host.Now().Sub(start)
		ev.Log, ev.Text = "", fmt.Sprintf("%s: waiting for its turn for %s", sub.ID, sub.Target)
		b.Report.Rest(ev)
	}
	return err
}

// passOn reports the warnings of the reader of a configuration that were not
// reported before. Deprecated directives are only a detail here, because only
// the author of a package can change them: lint warns of them.
func passOn(to *report.Reporter, c *conf.Module, warnings []string) {
	for _, d := range c.Deprecated {
		to.Detailf("%s", d)
	}
	for _, w := range warnings {
		to.Warnf("%s", w)
	}
}

// build waits for the build of step i and records its result. The messages of
// the build were reported when it ended.
func (x *executor) build(i int, sub machine.Subject) (changed bool, err error) {
	u := x.builds.under[i]
	<-u.done
	x.w.Report.Tally(x.plan.Count(plan.Build, i+1), x.plan.Count(plan.Build, len(x.plan.Steps)))
	u.turn(func(e report.Event) report.Event {
		if e.Kind == report.Failure {
			e.Err = x.locate(sub, e.Err)
		}
		return e
	})
	if u.err != nil || !u.here {
		return u.changed, x.locate(sub, u.err)
	}
	x.w.Tree.ForgetFailure(sub.ID, sub.Target)
	if err := x.w.Tree.RecordDepends(sub.ID, sub.Target, x.dependsToRecord(x.confs[sub].Conf)); err != nil {
		x.failure(x.w.Report, sub, "build", err)
		return u.changed, err
	}
	return u.changed, nil
}

// locate makes an error name the log of the build where it is now: the build
// for another kernel may have replaced the log, and a rehearsal keeps its logs
// elsewhere.
func (x *executor) locate(sub machine.Subject, err error) error {
	if x.scratch {
		return x.keepLog(sub, err)
	}
	usual, log := x.w.Tree.ScratchLog(sub.ID), x.failedLog(sub)
	if hint := exit.Hint(err); log != "" && log != usual && strings.Contains(hint, usual) {
		return exit.Errorf(exit.Status(err), "%w", err).WithHint("%s", strings.ReplaceAll(hint, usual, log))
	}
	return err
}

// failedLog is the log of the last failed build of a subject.
func (x *executor) failedLog(sub machine.Subject) string {
	for _, a := range build.Attempts(x.w.Machine.Tree, sub.ID) {
		if a.Failed && a.Target == sub.Target {
			return a.Path
		}
	}
	return ""
}

// wantsConfinement tells whether builds are to be confined where that is possible.
func wantsConfinement(m *machine.Machine) bool {
	return m.Framework.BuildSandbox != "no" && m.Host.UID == 0
}

// confinement is the sandbox of builds; with nil, builds are not confined. probe
// tells why builds cannot be confined on this machine.
func confinement(ctx context.Context, m *machine.Machine, probe func() error) (*build.Confinement, error) {
	if !wantsConfinement(m) {
		return nil, nil
	}
	err := probe()
	switch {
	case err == nil:
		for _, wall := range system.MissingWalls() {
			m.Report.Detailf("builds are isolated without %s, which this kernel does not have", wall)
		}
		return allowances(ctx, m)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case m.Framework.BuildSandbox == "require":
		return nil, exit.Errorf(exit.Usage, "builds cannot be isolated here: %w", err).
			WithHint("build_sandbox=yes in framework.conf builds all the same")
	}
	m.Report.Progressf("builds are not isolated from this system: %v", err)
	return nil, nil
}

// allowances are the permissions that the administrator gives to confined
// builds.
func allowances(ctx context.Context, m *machine.Machine) (*build.Confinement, error) {
	fw := m.Framework
	c := &build.Confinement{Disk: fw.DiskLimit, Limits: system.Limits{FileSize: fw.FileLimit, Processes: fw.ProcessLimit}}
	signing, err := m.Signing(ctx, "")
	if err != nil {
		return nil, err
	}
	c.Hide = []string{signing.SigningKey, signing.Certificate, fw.PrebuiltCertificate}
	for _, word := range m.Framework.SandboxAllow {
		switch {
		case word == "network":
			c.Network = true
		case word == "sockets":
			c.Sockets = true
		case !system.IsDir(word):
			return nil, exit.Errorf(exit.BadConf, "%s: build_sandbox_allow: %s is not a directory", m.Framework.Where("build_sandbox_allow"), word)
		default:
			c.Allow = append(c.Allow, word)
		}
	}
	if l := m.Framework.CompilerLauncher; len(l) > 0 && !c.Network && slices.Contains([]string{"distcc", "icecc"}, filepath.Base(l[0])) {
		m.Report.Warnf("compiler_launcher=%s compiles on this machine only, for builds have no network; build_sandbox_allow=network gives it to them", l[0])
	}
	return c, nil
}
