package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Rehearsal is the answer to "would everything build for this kernel". The
// JSON names are an interface; see dkms(8).
type Rehearsal struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// Builds says that nothing fails.
	Builds bool `json:"builds"`
	// Modules have one of the states builds, untried, skipped, unwanted,
	// waiting, failed or broken.
	Modules []Rehearsed `json:"modules"`
}

// Rehearsed is the result of one module in a rehearsal.
type Rehearsed struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// These are the states of a rehearsal in addition to those of [machine.State]:
// the module builds, or only a real run would build it.
const (
	succeeds = "builds"
	untried  = "untried"
)

// rehearseSchema is the version of the JSON that rehearse prints.
const rehearseSchema = 1

// Rehearse builds what autoinstall would build for kernels that need only
// headers on this machine, and keeps only the logs of failures. The status is
// 11 if a build fails, and 21 if there are no headers at all.
func Rehearse(ctx context.Context, m *machine.Machine, choice machine.Choice, json bool, o Options) (exit.Code, error) {
	targets, err := m.Targets(choice, func() ([]string, error) { return releaseOfHeaders(m) })
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(m.Framework.TmpLocation, "dkms-rehearse.")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir) // fails, as intended, if the directory keeps a log
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	var list []Rehearsal
	code, headers := exit.OK, false
	for _, t := range targets {
		r, err := rehearse(ctx, m, t, dir, o)
		if err != nil {
			return 0, err
		}
		list = append(list, r)
		headers = headers || m.Kernel(t).HasHeaders()
		if !r.Builds {
			code = exit.SomeFailed
		}
	}
	if code != exit.OK && !headers {
		code = exit.NoHeaders
	}
	if json {
		return code, m.Report.JSON(map[string]any{"schema": rehearseSchema, "kernels": list})
	}
	for _, r := range list {
		if o.DryRun {
			r.announce(m)
			continue
		}
		r.review(m)
	}
	return code, nil
}

// releaseOfHeaders is the release of the kernel that --headers belong to.
func releaseOfHeaders(m *machine.Machine) ([]string, error) {
	if m.Settings.Headers == "" {
		return nil, exit.Errorf(exit.KernelCount, "rehearse needs a kernel").WithHint("dkms rehearse -k RELEASE, or dkms rehearse --headers DIRECTORY")
	}
	dir := m.Host.Abs(m.Settings.Headers)
	if !system.IsDir(dir) {
		return nil, exit.Errorf(exit.NoHeaders, "%s: no such directory", dir)
	}
	if release := kernel.ReleaseOf(dir); release != "" {
		return []string{release}, nil
	}
	return nil, exit.Errorf(exit.NoHeaders, "%s does not say which kernel it is of", dir).WithHint("name it: -k RELEASE")
}

// rehearse runs an autoinstall for one kernel on a scratch machine in dir.
func rehearse(ctx context.Context, m *machine.Machine, t tree.Target, dir string, o Options) (Rehearsal, error) {
	r := Rehearsal{Kernel: t.Kernel, Arch: t.Arch, Builds: true, Modules: []Rehearsed{}}
	facts, err := m.Facts()
	if err != nil {
		return r, err
	}
	for _, id := range facts.Broken() {
		r.add(id, string(machine.BrokenSource), "", m.Broken(id))
	}
	stage := m.Scratch(filepath.Join(dir, "tree"))
	w, err := stage.Lock(ctx, "dkms rehearse")
	if err != nil {
		return r, err
	}
	x, err := rehearseOn(ctx, m, w, facts, t, o)
	if x != nil {
		x.keepLog = func(s machine.Subject, err error) error { return keepLog(stage.Tree, dir, s, err) }
		if !o.DryRun {
			err = x.run(ctx)
		}
	}
	err = errors.Join(w.Close(ctx, err), os.RemoveAll(stage.Tree.Dir()))
	if err != nil {
		return r, err
	}
	r.read(x, o.DryRun)
	return r, nil
}

// rehearseOn registers on a scratch machine the versions that count on the real
// machine, and plans their autoinstall.
func rehearseOn(ctx context.Context, m *machine.Machine, w *machine.Writer, facts *machine.Facts, t tree.Target, o Options) (*executor, error) {
	for _, v := range facts.Registered() {
		if v.State != tree.Added {
			continue
		}
		id := v.ID
		sources, err := filepath.EvalSymlinks(m.Tree.SourceLink(id))
		if err == nil {
			err = w.Tree.Add(id, sources)
		}
		if err != nil {
			return nil, err
		}
	}
	scratch, err := w.Facts()
	if err != nil {
		return nil, err
	}
	p := scratch.PlanAutoinstall(ctx, []tree.Target{t}, true)
	x := newExecutor(w, Options{}, p, scratch.KnownConfs())
	x.scratch = true
	return x, nil
}

// keepLog keeps the log of a failed build, and names the log in the error.
func keepLog(t *tree.Tree, dir string, s machine.Subject, err error) error {
	log := filepath.Join(dir, s.Name+"-"+s.Version+"-"+s.Kernel+".log")
	if os.Rename(t.ScratchLog(s.ID), log) != nil {
		return err
	}
	text := strings.ReplaceAll(err.Error(), t.ScratchDir(s.ID)+"/", "")
	return exit.Errorf(exit.Status(err), "%s", text).WithHint("the whole log is in %s", log)
}

// add adds the result of a module.
func (r *Rehearsal) add(id tree.ID, state, reason string, err error) {
	m := Rehearsed{Module: id.Name, Version: id.Version, State: state, Reason: reason, Hint: exit.Hint(err)}
	if err != nil {
		m.Reason = err.Error()
		r.Builds = false
	}
	r.Modules = append(r.Modules, m)
}

// read adds the results of all modules: first those without a step, in the
// order of the plan.
func (r *Rehearsal) read(x *executor, dry bool) {
	for _, n := range x.plan.Notes {
		switch n.Outcome {
		case plan.Skipped:
			r.add(n.ID, string(machine.Excluded), n.Reason, nil)
		case plan.Deferred:
			r.add(n.ID, string(machine.Waiting), n.Reason, nil)
		case plan.Unwanted:
			r.add(n.ID, string(machine.Unwanted), n.Reason, nil)
		case plan.Failed:
			r.add(n.ID, string(machine.Failed), "", n.Err)
		}
	}
	for _, s := range x.plan.Steps {
		if s.Kind != plan.Build {
			continue
		}
		switch res := x.results[machine.Subject{ID: s.ID, Target: s.Target}]; {
		case dry:
			r.add(s.ID, untried, "", nil)
		case res.err != nil:
			r.add(s.ID, string(machine.Failed), "", res.err)
		default:
			r.add(s.ID, succeeds, "", nil)
		}
	}
}

// announce prints what would be built.
func (r *Rehearsal) announce(m *machine.Machine) {
	for _, mod := range r.Modules {
		if mod.State == untried {
			would(m, "build %s/%s for %s (%s) in a scratch copy", mod.Module, mod.Version, r.Kernel, r.Arch)
		}
	}
}

// review prints the results of a rehearsal.
func (r *Rehearsal) review(m *machine.Machine) {
	bad := 0
	for _, mod := range r.Modules {
		line := fmt.Sprintf("%s: %s/%s: %s", r.Kernel, mod.Module, mod.Version, mod.State)
		if first, _, _ := strings.Cut(mod.Reason, "\n"); first != "" {
			line += ": " + strings.TrimPrefix(first, fmt.Sprintf("%s/%s: kernel %s: ", mod.Module, mod.Version, r.Kernel))
		}
		switch machine.State(mod.State) {
		case machine.Failed, machine.BrokenSource:
			bad++
		case machine.Unwanted:
			continue
		}
		m.Report.Result(line)
	}
	if bad == 0 {
		m.Report.Result(r.Kernel + ": everything builds")
		return
	}
	m.Report.Result(fmt.Sprintf("%s: %d of %d modules would not be there", r.Kernel, bad, len(r.Modules)))
}
