package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Rehearsal is the answer to "would everything build for this kernel". The
// JSON names are an interface; see dkms-json(5).
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

// Rehearsing is the request of rehearse.
type Rehearsing struct {
	// Named is the one module to build, or the directory of its sources; empty
	// means everything that has AUTOINSTALL.
	Named
	Choice machine.Choice
	// Headers are a directory of headers, or packages of headers that are not
	// installed.
	Headers []string
	// JSON prints the result as JSON.
	JSON bool
}

// Rehearse builds what autoinstall would build for kernels that need only
// headers on this machine, and keeps only the logs of failures. The status is
// 11 if a build fails, and 21 if there are no headers at all.
func Rehearse(ctx context.Context, m *machine.Machine, q Rehearsing, o Options) (exit.Code, error) {
	dir, err := os.MkdirTemp(m.Framework.TmpLocation, "dkms-rehearse.")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir) // fails, as intended, if the directory keeps a log
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return 0, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	aside := filepath.Join(dir, "headers")
	defer os.RemoveAll(aside)
	if m, err = withHeaders(ctx, m, q.Headers, q.Choice, aside); err != nil {
		return 0, err
	}
	list, code, err := rehearseAll(ctx, m, q, dir, o)
	if err != nil {
		return 0, err
	}
	if q.JSON {
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

// rehearseAll rehearses for every chosen kernel.
func rehearseAll(ctx context.Context, m *machine.Machine, q Rehearsing, dir string, o Options) (list []Rehearsal, code exit.Code, err error) {
	discover := m.Discover
	if m.Settings.Headers != "" {
		discover = func() ([]string, error) { return releaseOfHeaders(m) }
	}
	targets, err := m.Targets(q.Choice, discover)
	if err != nil {
		return nil, 0, err
	}
	name, sources, err := candidates(ctx, m, q, o)
	if err != nil {
		return nil, 0, err
	}
	headers := false
	for _, t := range targets {
		r, err := rehearse(ctx, m, t, name, sources, trial{dir: dir, dryRun: o.DryRun})
		if err != nil {
			return nil, 0, err
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
	return list, code, nil
}

// releaseOfHeaders is the release of the kernel that --headers belong to.
func releaseOfHeaders(m *machine.Machine) ([]string, error) {
	dir := m.Host.Abs(m.Settings.Headers)
	if !system.IsDir(dir) {
		return nil, exit.Errorf(exit.NoHeaders, "%s: no such directory", dir)
	}
	if release := kernel.ReleaseOf(dir); release != "" {
		return []string{release}, nil
	}
	return nil, exit.Errorf(exit.NoHeaders, "%s does not say which kernel it is of", dir).WithHint("name it: -k RELEASE")
}

// rehearse runs an autoinstall of some versions for one kernel on a scratch
// machine. If name is not empty, it is about that module only.
func rehearse(ctx context.Context, m *machine.Machine, t tree.Target, name string, sources []brought, how trial) (Rehearsal, error) {
	r := Rehearsal{Kernel: t.Kernel, Arch: t.Arch, Builds: true, Modules: []Rehearsed{}}
	if name == "" {
		facts, err := m.Facts()
		if err != nil {
			return r, err
		}
		for _, id := range facts.Broken() {
			r.add(id, string(machine.BrokenSource), "", m.Broken(id))
		}
	}
	stage := m.Scratch(filepath.Join(how.dir, "tree"))
	w, err := stage.Lock(ctx, "dkms rehearse")
	if err != nil {
		return r, err
	}
	x, err := rehearseOn(ctx, w, sources, t, name)
	if x != nil {
		x.keepLog = func(s machine.Subject, err error) error { return keepLog(stage, how.dir, s, err) }
		if !how.dryRun {
			err = x.run(ctx)
		}
		if how.keep {
			keepBuilds(context.WithoutCancel(ctx), x)
		}
	}
	err = errors.Join(w.Close(ctx, err), os.RemoveAll(stage.Tree.Dir()))
	if err != nil {
		return r, err
	}
	r.read(x, how.dryRun)
	return r, nil
}

// candidates are the versions that count on the real machine, with the
// directories of their sources: those that are registered and, in the place of
// the others of its name, the version that is named. name is the module that
// the request is about, or "".
func candidates(ctx context.Context, m *machine.Machine, q Rehearsing, o Options) (name string, list []brought, err error) {
	facts, err := m.Facts()
	if err != nil {
		return "", nil, err
	}
	only, err := meant(ctx, m, q, o)
	if err != nil {
		return "", nil, err
	}
	if only.sources != "" {
		list = append(list, only)
	}
	for _, v := range facts.Registered() {
		switch {
		case v.State != tree.Added:
		case v.ID.Name == only.Name && only.sources != "":
		case v.ID.Name == only.Name && only.Version != "" && v.ID.Version != only.Version:
		default:
			dir, err := filepath.EvalSymlinks(m.Tree.SourceLink(v.ID))
			if err != nil {
				return "", nil, err
			}
			list = append(list, brought{ID: v.ID, sources: dir})
		}
	}
	if only.Name != "" && !slices.ContainsFunc(list, func(b brought) bool { return b.Name == only.Name }) {
		return "", nil, m.NotRegistered(q.word())
	}
	return only.Name, list, nil
}

// meant is the version that the request is about; it has sources if it is not
// registered.
func meant(ctx context.Context, m *machine.Machine, q Rehearsing, o Options) (brought, error) {
	id := tree.ID{Name: q.Name, Version: q.Version}
	dir := q.Source
	if dir == "" && q.Version != "" {
		switch m.Tree.State(id) {
		case tree.Broken:
			return brought{}, m.Broken(id)
		case tree.Absent, tree.Restored:
			if dir = m.Tree.Sources(id); !system.IsFile(filepath.Join(dir, "dkms.conf")) {
				dir = ""
			}
		}
	}
	if dir == "" {
		return brought{ID: id}, nil
	}
	dir, err := filepath.EvalSymlinks(m.Host.Abs(dir))
	if err != nil {
		return brought{}, exit.Errorf(exit.NoConfInDir, "%w", err)
	}
	v := &verb{m, nil, "rehearse", q.Choice, o}
	id, err = v.identify(ctx, dir)
	return brought{ID: id, sources: dir}, err
}

// rehearseOn registers versions on a scratch machine, and plans their
// autoinstall.
func rehearseOn(ctx context.Context, w *machine.Writer, sources []brought, t tree.Target, name string) (*executor, error) {
	for _, b := range sources {
		if err := w.Tree.Add(b.ID, b.sources); err != nil {
			return nil, err
		}
	}
	scratch, err := w.Facts()
	if err != nil {
		return nil, err
	}
	var p *plan.Plan
	if name != "" {
		p = scratch.PlanOne(ctx, t, name)
	} else {
		p = scratch.PlanAutoinstall(ctx, []tree.Target{t}, true)
	}
	x := newExecutor(w, Options{}, p, scratch.KnownConfs())
	x.scratch = true
	return x, nil
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
		case isolationFailed(res.err):
			r.add(s.ID, untried, res.err.Error(), nil)
		case res.err != nil && x.builds.missesHeaders(x.w.Kernel(s.Target), x.confs[machine.Subject{ID: s.ID, Target: s.Target}].Conf, res.err):
			r.add(s.ID, untried, "its makefile looks into "+x.w.Kernel(s.Target).ModuleDir()+", which is not there before the kernel is installed, except for a build in isolation", nil)
		case res.err != nil:
			r.add(s.ID, string(machine.Failed), "", res.err)
		default:
			r.add(s.ID, succeeds, "", nil)
		}
	}
}

// isolationFailed tells whether a build has failed because it could not be
// isolated.
func isolationFailed(err error) bool {
	_, ok := errors.AsType[*system.JailError](err)
	return ok
}

// missesHeaders tells whether a build has failed because the headers are not yet
// where its makefile looks for them. A confined build sees them there.
func (b *builds) missesHeaders(k *kernel.Kernel, c *conf.Module, err error) bool {
	dir := k.ModuleDir()
	return strings.Contains(err.Error(), dir+"/") && !system.IsDir(filepath.Join(dir, "build")) && !b.confines(c)
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
	bad, unknown := 0, 0
	for _, mod := range r.Modules {
		line := fmt.Sprintf("%s: %s/%s: %s", r.Kernel, mod.Module, mod.Version, mod.State)
		if first, _, _ := strings.Cut(mod.Reason, "\n"); first != "" {
			line += ": " + strings.TrimPrefix(first, fmt.Sprintf("%s/%s: kernel %s: ", mod.Module, mod.Version, r.Kernel))
		}
		switch machine.State(mod.State) {
		case machine.Failed, machine.BrokenSource:
			bad++
		case untried:
			unknown++
		case machine.Unwanted:
			continue
		}
		m.Report.Result(line)
	}
	some := slices.ContainsFunc(r.Modules, func(mod Rehearsed) bool { return mod.State == succeeds })
	result := "everything builds"
	switch {
	case bad > 0 && len(r.Modules) == 1:
		result = "the only module would be missing"
	case bad > 0:
		result = fmt.Sprintf("%d of %d modules would be missing", bad, len(r.Modules))
	case unknown > 0 && some:
		result = "everything else builds"
	case unknown > 0:
		result = "nothing is known before the kernel is installed"
	case !some:
		result = "there is nothing to build"
	}
	m.Report.Result(r.Kernel + ": " + result)
}
