package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Rehearsal is the answer to "would everything build for this kernel". The
// JSON names are an interface; see dkms(8).
type Rehearsal struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// Builds says that nothing fails.
	Builds bool `json:"builds"`
	// Modules have the state builds, untried, skipped, unwanted, waiting,
	// failed or broken.
	Modules []ModuleVerdict `json:"modules"`
}

// rehearseSchema is the version of the JSON that rehearse prints.
const rehearseSchema = 1

// rehearse builds what autoinstall would build for kernels, of which there may
// be no more than the headers, and keeps nothing but the logs of failures. The
// status is 11 when one fails, and 21 where there are no headers at all.
func (e *Engine) rehearse(ctx context.Context, req *Request) (exit.Code, error) {
	if req.Name != "" || req.Source != "" {
		return 0, exit.Errorf(exit.Usage, "rehearse takes no module: it is about all of them").WithHint("dkms rehearse -k RELEASE")
	}
	targets, err := e.targets(req, e.releaseOfHeaders)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp(e.framework.TmpLocation, "dkms-rehearse.")
	if err != nil {
		return 0, err
	}
	defer os.Remove(dir) // unless it keeps a log
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	var list []Rehearsal
	code, headers := exit.OK, false
	confine := sync.OnceValues(func() (*build.Confinement, error) { return e.confinement(ctx) })
	for _, t := range targets {
		s := &stage{Engine: e.understudy(filepath.Join(dir, "tree")), target: t, logs: dir, dry: req.DryRun, confine: confine, Rehearsal: Rehearsal{Kernel: t.Kernel, Arch: t.Arch, Builds: true, Modules: []ModuleVerdict{}}}
		err := s.run(ctx, e)
		if err := errors.Join(err, os.RemoveAll(s.tree.Dir())); err != nil {
			return 0, err
		}
		list = append(list, s.Rehearsal)
		headers = headers || e.kernel(t).HasHeaders()
		if !s.Builds {
			code = exit.SomeFailed
		}
	}
	if code != exit.OK && !headers {
		code = exit.NoHeaders
	}
	if req.JSON {
		return code, e.resultJSON(map[string]any{"schema": rehearseSchema, "kernels": list})
	}
	for _, r := range list {
		if req.DryRun {
			e.announce(r)
			continue
		}
		e.review(r)
	}
	return code, nil
}

// releaseOfHeaders is the kernel that --headers are of.
func (e *Engine) releaseOfHeaders() ([]string, error) {
	if e.settings.Headers == "" {
		return nil, exit.Errorf(exit.KernelCount, "rehearse needs a kernel").WithHint("dkms rehearse -k RELEASE, or dkms rehearse --headers DIRECTORY")
	}
	dir := e.host.Abs(e.settings.Headers)
	if !system.IsDir(dir) {
		return nil, exit.Errorf(exit.NoHeaders, "%s: no such directory", dir)
	}
	if release := kernel.ReleaseOf(dir); release != "" {
		return []string{release}, nil
	}
	return nil, exit.Errorf(exit.NoHeaders, "%s does not say which kernel it is of", dir).WithHint("name it: -k RELEASE")
}

// understudy is an engine whose dkms tree is somewhere else, and that leaves
// everything else alone.
func (e *Engine) understudy(dir string) *Engine {
	u := &Engine{
		host: e.host, report: e.report, run: e.run, framework: e.framework, distribution: e.distribution, settings: e.settings,
		kernels: e.kernels, signers: map[string]signing{}, depmod: map[string]bool{}, locked: true,
	}
	u.host.Root.State = dir
	u.tree = tree.Open(u.host.Root)
	reader := *e.reader
	reader.Host = u.host
	u.reader = &reader
	return u
}

// stage is where a rehearsal for one kernel takes place.
type stage struct {
	*Engine
	Rehearsal
	target tree.Target
	logs   string
	dry    bool // nothing is built
	// confine tells how builds are confined.
	confine func() (*build.Confinement, error)
	confs   map[subject]conf.Result
	failed  []bool
}

// run rehearses what is registered in the tree of e.
func (s *stage) run(ctx context.Context, e *Engine) error {
	newest, broken, err := e.newest()
	if err != nil {
		return err
	}
	for _, id := range broken {
		s.settle(id, "broken", e.broken(id))
	}
	var subjects []subject
	for _, id := range newest {
		sources, err := filepath.EvalSymlinks(e.tree.SourceLink(id))
		if err == nil {
			err = s.tree.Add(id, sources)
		}
		if err != nil {
			return err
		}
		subjects = append(subjects, subject{id, s.target})
	}
	s.confs = map[subject]conf.Result{}
	for i, res := range s.Engine.confs(ctx, subjects, s.confFile) {
		s.confs[subjects[i]] = res
	}
	var candidates []plan.Candidate
	for _, sub := range subjects {
		candidates = append(candidates, s.candidate(ctx, sub, s.confs, true))
	}
	return s.play(ctx, plan.ForAutoinstall(candidates, s.kernel(s.target).CheckHeaders(s.distribution)))
}

func (s *stage) play(ctx context.Context, p *plan.Plan) error {
	for _, n := range p.Notes {
		m := noteVerdict(n)
		s.Modules = append(s.Modules, m)
		if m.bad() {
			s.Builds = false
		}
	}
	if s.dry {
		for _, step := range p.Steps {
			if step.Kind == plan.Build {
				s.settle(step.ID, untried, nil)
			}
		}
		return nil
	}
	s.failed = make([]bool, len(p.Steps))
	for i, step := range p.Steps {
		err := s.needs(p, step)
		if err == nil {
			err = s.step(ctx, step)
		}
		if ctx.Err() != nil {
			return exit.Errorf(exit.Usage, "%s: stopped while it was rehearsed", step.ID)
		}
		s.failed[i] = err != nil
		switch {
		case step.Kind == plan.Build && err != nil:
			s.settle(step.ID, "failed", err)
		case step.Kind == plan.Install && err == nil:
			s.settle(step.ID, "builds", nil)
		}
	}
	return nil
}

// needs says which module that a step builds on has failed.
func (s *stage) needs(p *plan.Plan, step plan.Step) error {
	for _, n := range step.Needs {
		if s.failed[n] {
			return exit.Errorf(exit.DependsMissing, "%s: kernel %s: needs %s, which fails", step.ID, s.Kernel, p.Steps[n].ID)
		}
	}
	return nil
}

func (s *stage) settle(id tree.ID, state string, err error) {
	m := ModuleVerdict{Module: id.Name, Version: id.Version, State: state, Hint: exit.Hint(err)}
	if err != nil {
		m.Reason = err.Error()
		s.Builds = false
	}
	s.Modules = append(s.Modules, m)
}

// step builds a module or, where it is to be installed, has those that build
// on it find it.
func (s *stage) step(ctx context.Context, step plan.Step) error {
	if step.Kind == plan.Install {
		return s.tree.Activate(step.ID, s.target)
	}
	ev := report.Event{Kind: report.Progress, Module: step.ID.String(), Kernel: s.Kernel, Arch: s.Arch, Step: "rehearse",
		Text: fmt.Sprintf("%s: rehearsing the build for %s", step.ID, s.target), Log: s.tree.ScratchLog(step.ID)}
	s.report.Emit(ev)
	start := s.host.Now()
	err := s.build(ctx, step.ID)
	ev.Kind, ev.Text, ev.Elapsed = report.Detail, fmt.Sprintf("%s: builds for %s", step.ID, s.target), s.host.Now().Sub(start).Round(time.Millisecond)
	if err != nil {
		ev.Kind, ev.Text, ev.Err = report.Failure, err.Error(), err
	}
	s.report.Emit(ev)
	return err
}

func (s *stage) build(ctx context.Context, id tree.ID) error {
	c := s.confs[subject{id, s.target}].Conf
	if err := c.CheckStrict(); err != nil {
		return err
	}
	b, err := s.builder(ctx, false)
	if err != nil {
		return err
	}
	b.Rehearsal = true
	if b.Confine, err = s.confine(); err != nil {
		return err
	}
	b.Pool = build.NewPool(s.framework.Jobs(s.host), s.host.CPUs, false)
	defer b.Pool.Close()
	if _, err = b.Build(ctx, build.Job{ID: id, Kernel: s.kernel(s.target), Conf: c}); err == nil {
		return nil
	}
	log := filepath.Join(s.logs, id.Name+"-"+id.Version+"-"+s.Kernel+".log")
	if os.Rename(s.tree.ScratchLog(id), log) != nil {
		return err
	}
	text := strings.ReplaceAll(err.Error(), s.tree.ScratchDir(id)+"/", "")
	return exit.Errorf(exit.Status(err), "%s", text).WithHint("the whole log is in %s", log)
}

// untried is the state of a module that only a real run would build.
const untried = "untried"

// announce prints what would be built.
func (e *Engine) announce(r Rehearsal) {
	for _, m := range r.Modules {
		if m.State == untried {
			e.report.Result(fmt.Sprintf("would build %s/%s for %s (%s) in a scratch copy", m.Module, m.Version, r.Kernel, r.Arch))
		}
	}
}

// review prints how a rehearsal went.
func (e *Engine) review(r Rehearsal) {
	bad := 0
	for _, m := range r.Modules {
		line := fmt.Sprintf("%s: %s/%s: %s", r.Kernel, m.Module, m.Version, m.State)
		if first, _, _ := strings.Cut(m.Reason, "\n"); first != "" {
			line += ": " + strings.TrimPrefix(first, fmt.Sprintf("%s/%s: kernel %s: ", m.Module, m.Version, r.Kernel))
		}
		switch m.State {
		case "failed", "broken":
			bad++
		case "unwanted":
			continue
		}
		e.report.Result(line)
	}
	if bad == 0 {
		e.report.Result(r.Kernel + ": everything builds")
		return
	}
	e.report.Result(fmt.Sprintf("%s: %d of %d modules would not be there", r.Kernel, bad, len(r.Modules)))
}
