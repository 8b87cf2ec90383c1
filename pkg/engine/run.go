package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/install"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/tree"
)

// subject is what results are kept about: a module version and a kernel.
type subject struct {
	tree.ID
	tree.Target
}

// result is how a subject fared.
type result struct {
	outcome plan.Outcome
	reason  string
	err     error
}

// run is a plan being carried out.
type run struct {
	*Engine
	req   *Request
	confs map[subject]conf.Result
	// failed marks steps that did not succeed, by index.
	failed []bool
	// order lists the subjects as they were settled.
	order   []subject
	results map[subject]result
	// installed lists what was installed, in order.
	installed []subject
	changed   bool
	builds    *builds
}

// carryOut makes the changes of p one after the other, brings the module
// indexes up to date and runs the post-transaction command. confs holds what
// was read of the subjects so far, or is nil; the rest is read now, in one go.
func (e *Engine) carryOut(ctx context.Context, req *Request, p *plan.Plan, confs map[subject]conf.Result) (*run, error) {
	if confs == nil {
		confs = map[subject]conf.Result{}
	}
	r := &run{Engine: e, req: req, confs: confs, failed: make([]bool, len(p.Steps)), results: map[subject]result{}}
	for _, n := range p.Notes {
		r.settle(subject{n.ID, n.Target}, result{n.Outcome, n.Reason, n.Err})
		if n.Outcome == plan.Failed && !req.DryRun {
			r.remember(subject{n.ID, n.Target}, n.Err)
		}
	}
	if req.DryRun {
		e.show(p)
		return r, nil
	}
	if len(p.Steps) == 0 {
		return r, e.runDepmod(ctx, req)
	}
	e.readConfs(ctx, p, r.confs)
	if err := r.steps(ctx, p); err != nil {
		return r, err
	}
	if err := e.runDepmod(ctx, req); err != nil {
		return r, err
	}
	r.initramfs(ctx)
	if req.Modprobe || e.framework.ModprobeOnInstall {
		e.load(ctx, r.installed)
	}
	if r.changed && wantsPostTransaction(req.Verb) {
		e.postTransaction(ctx, p.Steps[0].Target)
	}
	return r, nil
}

// steps carries out the steps of p in their order, with the builds that can be
// under way beside them.
func (r *run) steps(ctx context.Context, p *plan.Plan) error {
	ctx, cancel := context.WithCancel(ctx)
	r.builds = r.newBuilds(ctx, p)
	defer func() {
		r.builds.end()
		r.untidy = r.untidy || r.builds.pool.Untidy()
	}()
	defer cancel()
	for i := 0; i < len(p.Steps); i++ { // an installation may add steps
		r.startBuilds(ctx, p, i)
		if err := r.step(ctx, p, i); err != nil {
			return err
		}
	}
	return nil
}

// show prints a plan for --dry-run.
func (e *Engine) show(p *plan.Plan) {
	for _, s := range p.Steps {
		line := fmt.Sprintf("would %s %s", s.Kind, s.ID)
		if s.Target.Kernel != "" {
			line += " for " + s.Target.String()
		}
		e.report.Result(line + ": " + s.Reason)
	}
}

// readConfs reads the configuration of everything that is to be built or
// installed and was not read yet, with one bash for all.
func (e *Engine) readConfs(ctx context.Context, p *plan.Plan, confs map[subject]conf.Result) {
	var missing []subject
	for _, s := range p.Steps {
		k := subject{s.ID, s.Target}
		if _, ok := confs[k]; !ok && (s.Kind == plan.Build || s.Kind == plan.Install) && !slices.Contains(missing, k) {
			missing = append(missing, k)
		}
	}
	for i, result := range e.confs(ctx, missing, e.confFile) {
		confs[missing[i]] = result
	}
}

// confFile is the dkms.conf of an added version.
func (e *Engine) confFile(s subject) string { return e.tree.Conf(s.ID) }

// confs reads the configuration of every subject; file says where it is.
func (e *Engine) confs(ctx context.Context, subjects []subject, file func(subject) string) []conf.Result {
	if len(subjects) == 0 {
		return nil
	}
	refs := make([]conf.Ref, len(subjects))
	for i, s := range subjects {
		k := e.kernel(s.Target)
		refs[i] = conf.Ref{Name: s.Name, Version: s.Version, File: file(s), Target: build.ConfTarget(k, false)}
	}
	return e.reader.Modules(ctx, refs)
}

// settle records how a subject fared; the worst word stays.
func (r *run) settle(s subject, res result) {
	if _, ok := r.results[s]; !ok {
		r.order = append(r.order, s)
	} else if r.results[s].outcome == plan.Failed {
		return
	}
	r.results[s] = res
	if res.err != nil {
		r.failure(s, "plan", res.err, 0)
	}
}

// failure reports an error about a subject, as a warning where the module is
// simply not meant for the kernel.
func (r *run) failure(s subject, step string, err error, elapsed time.Duration) {
	ev := report.Event{Kind: report.Failure, Module: s.ID.String(), Kernel: s.Kernel, Arch: s.Arch, Step: step, Text: err.Error(), Err: err, Elapsed: elapsed}
	if exit.Status(err) == exit.Excluded {
		ev.Kind = report.Warning
	}
	r.report.Emit(ev)
}

// step carries out step i unless one that it needs has failed. The error is
// only for what must end the whole run.
func (r *run) step(ctx context.Context, p *plan.Plan, i int) error {
	s := p.Steps[i]
	sub := subject{s.ID, s.Target}
	for _, n := range s.Needs {
		if !r.failed[n] {
			continue
		}
		r.failed[i] = true
		if needed := p.Steps[n]; needed.ID != s.ID {
			r.settle(sub, result{outcome: plan.Failed, err: exit.Errorf(exit.DependsMissing, "%s: kernel %s: needs %s, which failed", s.ID, s.Target.Kernel, needed.ID)})
		}
		return nil
	}
	var elapsed time.Duration
	var err error
	if s.Kind == plan.Build {
		elapsed, err = r.build(i, sub)
	} else {
		start := r.host.Now()
		err = r.do(ctx, s, sub)
		elapsed = r.host.Now().Sub(start)
	}
	if ctx.Err() != nil {
		return exit.Errorf(exit.Usage, "%s: stopped while it was to %s", s.ID, s.Kind).
			WithHint("nothing of this step was kept; run the same command again")
	}
	if err == nil {
		r.changed = true
		r.results[sub] = r.outcomeOf(sub, result{outcome: plan.Changed})
		r.done(s, elapsed)
		if s.Kind == plan.Install {
			r.installed = append(r.installed, sub)
			r.rebuildDependents(ctx, p, sub)
		}
		return nil
	}
	r.failed[i], r.untidy = true, r.untidy || isTrouble(err)
	outcome := plan.Failed
	if exit.Status(err) == exit.Excluded {
		outcome = plan.Skipped
	}
	r.results[sub] = r.outcomeOf(sub, result{outcome, err.Error(), err})
	r.failure(sub, s.Kind.String(), err, 0)
	if outcome == plan.Failed && (s.Kind == plan.Build || s.Kind == plan.Install) {
		r.remember(sub, err)
	}
	return nil
}

func (r *run) outcomeOf(s subject, res result) result {
	if _, ok := r.results[s]; !ok {
		r.order = append(r.order, s)
	}
	return res
}

// remember keeps a durable record of a failure, for status and for whoever
// looks after a boot that went wrong.
func (r *run) remember(s subject, err error) {
	if _, ok := errors.AsType[*known](err); ok {
		return
	}
	f := tree.Failure{Time: r.host.Now().UTC(), Code: int(exit.Status(err)), Message: err.Error(), Hint: exit.Hint(err)}
	if failure, ok := errors.AsType[*build.Failure](err); ok {
		f.Fingerprint = failure.Fingerprint
	}
	if exit.Status(err) != exit.NoHeaders {
		f.Log = r.failedLog(s)
	}
	if recErr := r.tree.RecordFailure(s.ID, s.Target, f); recErr != nil {
		r.report.Warnf("%s: the failure could not be recorded: %v", s.ID, recErr)
	}
}

var doneWords = map[plan.Kind]string{
	plan.Build: "built", plan.Install: "installed", plan.Uninstall: "uninstalled", plan.Unbuild: "unbuilt", plan.Forget: "removed",
	plan.Sign: "signed",
}

func (r *run) done(s plan.Step, elapsed time.Duration) {
	if s.Kind == plan.Build && r.imported(s.ID, s.Target) {
		return // as was said when it came
	}
	text := fmt.Sprintf("%s: %s", s.ID, doneWords[s.Kind])
	if s.Target.Kernel != "" {
		text += " for " + s.Target.String()
	}
	if s.Kind == plan.Forget {
		text += " from the dkms tree"
	}
	r.report.Emit(report.Event{Kind: report.Done, Module: s.ID.String(), Kernel: s.Target.Kernel, Arch: s.Target.Arch,
		Step: s.Kind.String(), Text: text, Elapsed: elapsed})
}

// do carries out one step that is no build.
func (r *run) do(ctx context.Context, s plan.Step, sub subject) error {
	switch s.Kind {
	case plan.Install:
		return r.install(ctx, sub)
	case plan.Uninstall:
		return r.uninstall(ctx, sub)
	case plan.Unbuild:
		return r.tree.DropBuild(sub.ID, sub.Target)
	case plan.Forget:
		return r.tree.Forget(sub.ID)
	case plan.Sign:
		return r.sign(ctx, sub)
	}
	return fmt.Errorf("%s: unknown step", s.Kind)
}

// conf is the checked configuration of a subject.
func (r *run) conf(sub subject) (*conf.Module, error) {
	res := r.confs[sub]
	switch {
	case res.Err != nil:
		return nil, fmt.Errorf("%s: %w", sub.ID, res.Err)
	case res.Conf == nil:
		return nil, exit.Errorf(exit.NoConf, "%s: its dkms.conf was not read", sub.ID)
	}
	return res.Conf, res.Conf.CheckStrict()
}

// withHint keeps the hint and code of the error below on the whole.
func withHint(err error) error {
	return exit.Errorf(exit.Status(err), "%w", err).WithHint("%s", exit.Hint(err))
}

func (r *run) install(ctx context.Context, sub subject) error {
	c, err := r.conf(sub)
	if err != nil {
		return err
	}
	k := r.kernel(sub.Target)
	if err := notFor(sub, c, k); err != nil { // there would be no file to install
		return err
	}
	set := &install.Set{
		ID: sub.ID, Kernel: k, Conf: c, Records: c.Active(build.ConfTarget(k, false), configOf(k)),
		Force: r.req.Force || r.req.SafeUpgrade, ForceVersion: r.req.ForceVersion,
	}
	if force, version := r.forcedInstall(sub.Name); force || version {
		r.report.Progressf("%s: installation is forced by a list in /usr/share/dkms/modules_to_force_install", sub.ID)
		set.Force, set.ForceVersion = set.Force || force, set.ForceVersion || version
	}
	if err := r.installer.Check(set); err != nil {
		return err
	}
	env := scriptEnv(sub)
	if err := r.script(ctx, sub.ID, "PRE_INSTALL", c.PreInstall, env); err != nil && !r.req.Force {
		return exit.Errorf(exit.PreInstallFailed, "%s: PRE_INSTALL refused: %w", sub.ID, err)
	}
	if err := r.tree.MarkPending(sub.Target); err != nil {
		return err
	}
	r.stale(sub.Target)
	if r.tree.IsInstalled(sub.ID, sub.Target) { // packages count on the pair of hooks
		r.runPostRemove(ctx, sub)
	}
	if err := r.installer.Install(ctx, set); err != nil {
		return err
	}
	r.weak(ctx, sub, true)
	if err := r.script(ctx, sub.ID, "POST_INSTALL", c.PostInstall, env); err != nil {
		r.report.Warnf("%s: %v; the module is installed all the same", sub.ID, err)
	}
	r.tree.ForgetFailure(sub.ID, sub.Target)
	return nil
}

func (r *run) uninstall(ctx context.Context, sub subject) error {
	r.weak(ctx, sub, false)
	if err := r.tree.MarkPending(sub.Target); err != nil {
		return err
	}
	r.stale(sub.Target)
	if err := r.installer.Uninstall(sub.ID, r.kernel(sub.Target)); err != nil {
		return err
	}
	r.runPostRemove(ctx, sub)
	return nil
}

// runPostRemove runs POST_REMOVE, whose failure is a warning.
func (r *run) runPostRemove(ctx context.Context, sub subject) {
	if err := r.script(ctx, sub.ID, "POST_REMOVE", r.postRemove(ctx, sub), scriptEnv(sub)); err != nil {
		r.report.Warnf("%s: %v; the module is taken out all the same", sub.ID, err)
	}
}

// postRemove is the hook of a version, from the manifest or, for builds of the
// original, from its dkms.conf if that can still be read.
func (r *run) postRemove(ctx context.Context, sub subject) string {
	if m, err := r.tree.Manifest(sub.ID, sub.Target); err == nil && m != nil {
		return m.PostRemove
	}
	res := r.Engine.confs(ctx, []subject{sub}, r.confFile)[0]
	if res.Err != nil {
		r.report.Warnf("%s: no POST_REMOVE is run: %v", sub.ID, res.Err)
		return ""
	}
	return res.Conf.PostRemove
}

// runDepmod brings the index of every kernel that changed up to date, once.
func (e *Engine) runDepmod(ctx context.Context, req *Request) error {
	var errs []error
	done := map[string]error{}
	for _, key := range slices.Sorted(maps.Keys(e.depmod)) {
		k := e.kernels[key]
		err, again := done[k.Release]
		switch {
		case again:
		case req.NoDepmod:
			e.report.Detailf("kernel %s: depmod is left to the caller (--no-depmod)", k.Release)
		default:
			err = e.installer.Depmod(ctx, k)
			errs = append(errs, err)
		}
		done[k.Release] = err
		if err == nil {
			errs = append(errs, e.tree.ClearPending(tree.Target{Kernel: k.Release, Arch: k.Arch}))
		}
	}
	clear(e.depmod)
	return errors.Join(errs...)
}
