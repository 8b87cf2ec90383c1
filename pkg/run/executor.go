// Package run carries out the verbs that change modules: it has a plan made,
// shows the plan or carries it out, and reports the result of each module.
//
// It guarantees that the plan is complete before its first step, that the
// failure of one module never stops another, and that only what was done is
// reported as done. There is one executor: a rehearsal is the same run on a
// scratch machine.
package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/tree"
)

// Options are the options of verbs that change modules.
type Options struct {
	// DryRun shows the plan and changes nothing.
	DryRun bool
	// Force and ForceVersion are --force and --force-version-override.
	Force, ForceVersion bool
	// NoDepmod leaves the update of module indexes to the caller.
	NoDepmod bool
	// Modprobe loads those of the newly installed or signed modules that devices
	// need.
	Modprobe bool
	// SafeUpgrade is --rpm_safe_upgrade.
	SafeUpgrade bool
}

// Source is somewhere that a build may come from instead of being made here.
type Source interface {
	// Take tries to put the build of a subject into the tree. If done is false,
	// Take has reported to r why the build has to be made here; an error says
	// that the build must not be made at all.
	Take(ctx context.Context, w *machine.Writer, s machine.Subject, c *conf.Module, r *report.Reporter) (done bool, err error)
}

// result is the result of a subject.
type result struct {
	outcome plan.Outcome
	reason  string
	err     error
}

// executor carries out one plan.
type executor struct {
	w *machine.Writer
	Options
	plan *plan.Plan
	// background says that nobody waits for the run. scratch says that the run
	// is a rehearsal, which keeps nothing and changes no kernel.
	background, scratch bool
	// firstFailure ends the run at the first step that fails.
	firstFailure bool
	// source may have builds ready; it may be nil.
	source Source
	confs  map[machine.Subject]conf.Result
	// failed marks the steps that have failed, by index.
	failed []bool
	// order lists the subjects in the order of their first result.
	order   []machine.Subject
	results map[machine.Subject]result
	// installed lists in order the subjects whose files were installed or signed.
	installed []machine.Subject
	changed   bool
	builds    *builds

	// back are the installations to be restored.
	back map[machine.Subject]*backTo

	// keepLog keeps the log of a failed rehearsal, and names the log in the
	// error.
	keepLog func(machine.Subject, error) error

	mu      sync.Mutex // protects signers
	signers map[tree.Target]signing
}

func newExecutor(w *machine.Writer, o Options, p *plan.Plan, confs map[machine.Subject]conf.Result) *executor {
	if confs == nil {
		confs = map[machine.Subject]conf.Result{}
	}
	return &executor{w: w, Options: o, plan: p, confs: confs, failed: make([]bool, len(p.Steps)),
		results: map[machine.Subject]result{}, signers: map[tree.Target]signing{}}
}

// run carries out the steps of the plan in order. Builds that can start earlier
// run beside other steps. The error is only for what ends the whole run.
func (x *executor) run(ctx context.Context) error {
	for _, n := range x.plan.Notes {
		x.note(machine.Subject{ID: n.ID, Target: n.Target}, result{n.Outcome, n.Reason, n.Err})
		if n.Outcome == plan.Failed {
			x.remember(machine.Subject{ID: n.ID, Target: n.Target}, n.Err, "")
		}
	}
	if len(x.plan.Steps) == 0 {
		return x.w.Index(ctx)
	}
	x.readConfs(ctx)
	return x.steps(ctx)
}

func (x *executor) steps(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	x.builds = x.newBuilds(ctx)
	defer func() {
		x.builds.end()
		if x.builds.pool.NeedsSweep() {
			x.w.Trouble()
		}
	}()
	defer cancel()
	start := x.w.Host.Now()
	for i := range x.plan.Steps {
		if x.firstFailure && !x.plan.Steps[i].Kind.Closing() && slices.Contains(x.failed, true) {
			continue
		}
		x.startBuilds(ctx, i)
		if err := x.step(ctx, i); err != nil {
			return err
		}
	}
	x.taken(x.w.Host.Now().Sub(start))
	return nil
}

// show prints a plan for --dry-run.
func show(r *report.Reporter, p *plan.Plan) {
	for _, s := range p.Steps {
		line := fmt.Sprintf("would %s %s", s.Kind, s.ID)
		switch s.Kind {
		case plan.Index:
			line = "would run depmod"
		case plan.Initramfs:
			line = "would look into the initramfs"
		case plan.Load:
			line = "would load modules"
		case plan.Command:
			line = "would run the post-transaction command"
		}
		if s.Target.Kernel != "" {
			line += " for " + s.Target.String()
		}
		r.Result(line + ": " + s.Reason)
	}
}

// readConfs reads, in one go, the configurations of everything to be built or
// installed that were not read yet.
func (x *executor) readConfs(ctx context.Context) {
	var missing []machine.Subject
	for _, s := range x.plan.Steps {
		k := machine.Subject{ID: s.ID, Target: s.Target}
		if _, ok := x.confs[k]; !ok && (s.Kind == plan.Build || s.Kind == plan.Install) && !slices.Contains(missing, k) {
			missing = append(missing, k)
		}
	}
	for i, result := range x.w.Confs(ctx, missing, x.w.ConfFile) {
		x.confs[missing[i]] = result
	}
}

// note records the result of a subject without a step; an earlier failure is
// not overwritten.
func (x *executor) note(s machine.Subject, res result) {
	if _, ok := x.results[s]; !ok {
		x.order = append(x.order, s)
	} else if x.results[s].outcome == plan.Failed {
		return
	}
	x.results[s] = res
	if res.err != nil {
		x.failure(x.w.Report, s, "plan", res.err)
	}
}

// record records the result of a subject.
func (x *executor) record(s machine.Subject, res result) {
	if _, ok := x.results[s]; !ok {
		x.order = append(x.order, s)
	}
	x.results[s] = res
}

// failure reports an error about a subject. If the module is not meant for the
// kernel, the error is reported as a warning.
func (x *executor) failure(to *report.Reporter, s machine.Subject, step string, err error) {
	ev := report.Event{Kind: report.Failure, Module: s.ID.String(), Kernel: s.Kernel, Arch: s.Arch, Step: step, Text: err.Error(), Err: err}
	if exit.Status(err) == exit.Excluded {
		ev.Kind = report.Warning
	}
	to.Emit(ev)
}

// step carries out step i, unless a step that it needs has failed. The error is
// only for what must end the whole run.
func (x *executor) step(ctx context.Context, i int) error {
	s := x.plan.Steps[i]
	if s.Kind.Closing() {
		return closing{x.w, x.installed, x.changed}.carryOut(ctx, s)
	}
	sub := machine.Subject{ID: s.ID, Target: s.Target}
	if x.blocked(i, sub) {
		return nil
	}
	start := x.w.Host.Now()
	changed, err := x.do(ctx, i, sub)
	if ctx.Err() != nil {
		return interrupted(s, changed)
	}
	if err == nil && !changed {
		x.record(sub, result{outcome: plan.Ready})
		x.w.Report.Progressf("%s: already %s for %s", s.ID, doneWords[s.Kind], s.Target)
		return nil
	}
	if !x.scratch && (err == nil || exit.Status(err) != exit.Excluded) {
		x.w.Did(s.Kind.String(), s.ID, s.Target, err)
	}
	if err == nil {
		x.changed = true
		x.record(sub, result{outcome: plan.Changed})
		if s.Kind != plan.Build {
			x.done(x.w.Report, s, x.w.Host.Now().Sub(start))
		}
		return nil
	}
	x.failed[i] = true
	if machine.IsTrouble(err) {
		x.w.Trouble()
	}
	outcome := plan.Failed
	if exit.Status(err) == exit.Excluded {
		outcome = plan.Skipped
	}
	x.record(sub, result{outcome, err.Error(), err})
	if s.Kind != plan.Build {
		x.failure(x.w.Report, sub, s.Kind.String(), err)
	}
	if outcome == plan.Failed && (s.Kind == plan.Build || s.Kind == plan.Install) {
		x.remember(sub, err, outdated(s))
	}
	return nil
}

// blocked tells whether a step that step i needs has failed, and records that.
func (x *executor) blocked(i int, sub machine.Subject) bool {
	for _, n := range x.plan.Steps[i].Needs {
		if !x.failed[n] {
			continue
		}
		x.failed[i] = true
		if needed := x.plan.Steps[n]; needed.ID != sub.ID {
			how := "failed"
			if x.scratch {
				how = "fails"
			}
			err := exit.Errorf(exit.DependsMissing, "%s: kernel %s: needs %s, which %s", sub.ID, sub.Kernel, needed.ID, how)
			x.note(sub, result{outcome: plan.Failed, err: err})
		}
		return true
	}
	return false
}

// interrupted is the error of a step that a signal has cut short. It says
// whether the step has changed something.
func interrupted(s plan.Step, changed bool) error {
	err := exit.Errorf(exit.Usage, "%s: stopped while it was to %s", s.ID, s.Kind)
	if changed {
		return err.WithHint("it is %s, but what its package does afterwards did not come to its end; to repeat that: dkms install --force %s -k %s",
			doneWords[s.Kind], s.ID, s.Target.Kernel)
	}
	return err.WithHint("nothing of this step was kept; run the same command again")
}

// outdated says why an existing build was to be replaced, if the build was out
// of date.
func outdated(s plan.Step) string {
	if s.Replaces && (s.Reason == machine.HeadersChanged || s.Reason == machine.SourcesChanged) {
		return s.Reason
	}
	return ""
}

// meanwhile tells whether another run, which a script of this run has started,
// has already done a step.
func (x *executor) meanwhile(s plan.Step, sub machine.Subject) bool {
	if s.Replaces || x.Force || !x.w.Tree.IsBuilt(sub.ID, sub.Target) {
		return false
	}
	now, err := x.w.Facts()
	if err != nil {
		return false
	}
	mod := now.Module(sub)
	if s.Kind == plan.Install {
		return mod.Installed().OK()
	}
	return mod.Build().OK()
}

// remember keeps a durable record of a failure, for status and for the
// diagnosis of a boot that went wrong. outdated says why an existing build was
// to be replaced.
func (x *executor) remember(s machine.Subject, err error, outdated string) {
	if machine.OnRecord(err) || x.scratch || exit.Status(err) == exit.NoHeaders && !x.w.Machine.Installed(s.Target) {
		return // a kernel that does not exist was probably misspelt
	}
	f := tree.Failure{Time: x.w.Host.Now().UTC(), Code: int(exit.Status(err)), Message: err.Error(), Hint: exit.Hint(err), Outdated: outdated}
	if failure, ok := errors.AsType[*build.Failure](err); ok {
		f.Fingerprint = failure.Fingerprint
	}
	if exit.Status(err) != exit.NoHeaders {
		f.Log = x.failedLog(s)
	}
	if recErr := x.w.Tree.RecordFailure(s.ID, s.Target, f); recErr != nil {
		x.w.Report.Warnf("%s: the failure could not be recorded: %v", s.ID, recErr)
	}
}

var doneWords = map[plan.Kind]string{
	plan.Build: "built", plan.Install: "installed", plan.Uninstall: "uninstalled", plan.Unbuild: "unbuilt", plan.Forget: "removed",
	plan.Sign: "signed", plan.Restore: "restored",
}

func (x *executor) done(to *report.Reporter, s plan.Step, elapsed time.Duration) {
	kind := report.Done
	text := fmt.Sprintf("%s: %s", s.ID, doneWords[s.Kind])
	switch {
	case x.scratch && s.Kind == plan.Install:
		return
	case x.scratch:
		kind, text = report.Detail, fmt.Sprintf("%s: builds", s.ID)
	}
	if s.Target.Kernel != "" {
		text += " for " + s.Target.String()
	}
	if s.Kind == plan.Forget {
		text += " from the dkms tree"
	}
	to.Emit(report.Event{Kind: kind, Module: s.ID.String(), Kernel: s.Target.Kernel, Arch: s.Target.Arch,
		Step: s.Kind.String(), Text: text, Elapsed: elapsed})
}

// do carries out step i, and tells whether the step has changed something.
func (x *executor) do(ctx context.Context, i int, sub machine.Subject) (changed bool, err error) {
	switch s := x.plan.Steps[i]; s.Kind {
	case plan.Build:
		return x.build(i, sub)
	case plan.Install:
		return x.install(ctx, s, sub)
	case plan.Uninstall:
		return x.uninstall(ctx, sub)
	case plan.Restore:
		return restoring{x}.restore(ctx, sub)
	case plan.Unbuild:
		return true, x.w.Tree.DropBuild(sub.ID, sub.Target)
	case plan.Forget:
		return true, x.w.Tree.Forget(sub.ID)
	case plan.Sign:
		return true, x.sign(ctx, sub)
	}
	return false, fmt.Errorf("%s: unknown step", sub.ID)
}

// conf is the checked configuration of a subject.
func (x *executor) conf(sub machine.Subject) (*conf.Module, error) {
	res := x.confs[sub]
	switch {
	case res.Err != nil:
		return nil, fmt.Errorf("%s: %w", sub.ID, res.Err)
	case res.Conf == nil:
		return nil, exit.Errorf(exit.NoConf, "%s: its dkms.conf was not read", sub.ID)
	}
	return res.Conf, res.Conf.CheckStrict()
}

// first is the exit status of a run over named modules: that of the first
// failure.
func (x *executor) first() exit.Code {
	for _, s := range x.order {
		if err := x.results[s].err; err != nil {
			return exit.Status(err)
		}
	}
	return exit.OK
}
