package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// add registers a module version.
func (e *Engine) add(ctx context.Context, req *Request) error {
	if req.Archive != "" && req.Name == "" {
		return e.ldtarball(ctx, req)
	}
	if err := e.importSource(ctx, req); err != nil {
		return err
	}
	id, err := e.id(req)
	if err != nil {
		return err
	}
	return e.register(ctx, req, id)
}

// register makes an ID known whose sources are in the source tree.
func (e *Engine) register(ctx context.Context, req *Request, id tree.ID) error {
	// Also for what is added already: a new release of a package may bring the
	// same version, and must not lose it when the old release goes.
	if req.SafeUpgrade && !req.DryRun {
		if err := e.markUpgrade(id); err != nil {
			e.report.Warnf("%s: --rpm_safe_upgrade has no effect: %v", id, err)
		}
	}
	if e.tree.State(id) == tree.Added {
		return exit.Errorf(exit.AlreadyAdded, "%s is already added", id).WithHint("dkms install %s builds and installs it", id)
	}
	sources := e.tree.Sources(id)
	if req.uncopied != "" {
		sources = req.uncopied
	}
	if !system.IsDir(sources) {
		return exit.Errorf(exit.NoSource, "%s: there is no source directory %s", id, sources).
			WithHint("put its sources there, or name their directory: dkms add DIRECTORY")
	}
	target, err := e.anyTarget(req)
	if err != nil {
		return err
	}
	sub := subject{id, target}
	res := e.confs(ctx, []subject{sub}, func(subject) string {
		if req.Conf != "" {
			return e.host.Abs(req.Conf)
		}
		return filepath.Join(sources, "dkms.conf")
	})[0]
	if res.Err != nil {
		return fmt.Errorf("%s: %w", id, res.Err)
	}
	if err := res.Conf.CheckStrict(); err != nil {
		return err
	}
	for _, w := range append(res.Conf.Deprecated, res.Conf.Warnings...) {
		e.report.Warnf("%s", w)
	}
	if req.DryRun {
		e.report.Result(fmt.Sprintf("would add %s from %s: not registered", id, e.tree.Sources(id)))
		return nil
	}
	if err := e.tree.Add(id, sources); err != nil {
		return err
	}
	e.report.Emit(report.Event{Kind: report.Done, Module: id.String(), Step: "add", Text: fmt.Sprintf("%s: added from %s", id, sources)})
	return e.postAdd(ctx, sub, res.Conf)
}

// postAdd runs POST_ADD. The version stays added when it fails, and its status
// becomes that of the command.
func (e *Engine) postAdd(ctx context.Context, sub subject, c *conf.Module) error {
	err := e.script(ctx, sub.ID, "POST_ADD", c.PostAdd, scriptEnv(sub))
	if err == nil {
		return nil
	}
	code := exit.Usage
	if status, ok := asStatus(err); ok {
		code = status
	}
	return exit.Errorf(code, "%s: added, but POST_ADD failed: %w", sub.ID, err)
}

// anyTarget is a kernel to evaluate a dkms.conf for where it does not matter
// much which: the first given or the running one.
func (e *Engine) anyTarget(req *Request) (tree.Target, error) {
	list, err := e.targets(req, e.running)
	if err != nil {
		return tree.Target{}, err
	}
	return list[0], nil
}

// importSource copies a source directory given by path into the source tree
// and makes the request name the module in it.
func (e *Engine) importSource(ctx context.Context, req *Request) error {
	if req.Source == "" || req.Name != "" {
		return nil
	}
	dir, err := filepath.EvalSymlinks(e.host.Abs(req.Source))
	if err != nil {
		return exit.Errorf(exit.NoConfInDir, "%w", err)
	}
	file := filepath.Join(dir, "dkms.conf")
	if !system.IsFile(file) {
		return exit.Errorf(exit.NoConfInDir, "%s holds no dkms.conf", dir)
	}
	id, err := e.identify(ctx, req, dir)
	if err != nil {
		return err
	}
	req.Name, req.Version = id.Name, id.Version
	return e.copySource(ctx, req, id, dir, dir)
}

// identify reads the module and version that the dkms.conf in dir names.
func (e *Engine) identify(ctx context.Context, req *Request, dir string) (tree.ID, error) {
	target, err := e.anyTarget(req)
	if err != nil {
		return tree.ID{}, err
	}
	file := filepath.Join(dir, "dkms.conf")
	res := e.confs(ctx, []subject{{tree.ID{}, target}}, func(subject) string { return file })[0]
	if res.Err != nil {
		return tree.ID{}, res.Err
	}
	id := tree.ID{Name: res.Conf.Name, Version: res.Conf.Version}
	if err := id.Check(); err != nil {
		return id, fmt.Errorf("%s: %w", file, err)
	}
	return id, res.Conf.CheckStrict() // before anything is copied
}

// copySource puts the sources of id into the source tree. What is already
// registered keeps its sources: replacing them under it needs --force. from is
// what the caller calls dir.
func (e *Engine) copySource(ctx context.Context, req *Request, id tree.ID, dir, from string) error {
	to := e.tree.Sources(id)
	if real, err := filepath.EvalSymlinks(to); err == nil && real == dir {
		return nil
	}
	if e.tree.State(id) == tree.Added && !req.Force {
		return exit.Errorf(exit.AlreadyAdded, "%s is already added; its sources stay as they are", id).
			WithHint("--force replaces %s", to)
	}
	if req.DryRun {
		e.report.Result(fmt.Sprintf("would copy %s to %s", from, to))
		req.uncopied = dir
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	stage, err := os.MkdirTemp(filepath.Dir(to), sourceStage)
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	if err := system.CopyTree(ctx, stage, dir, false); err != nil {
		return err
	}
	if err := os.Chmod(stage, 0o755); err != nil {
		return err
	}
	e.report.Detailf("%s: copying %s to %s", id, dir, to)
	return system.SwapDir(to, stage)
}

// sourceStage begins the names of sources on their way into the source tree.
const sourceStage = system.StagePrefix + "source."

// subjects are the states of a module version for some kernels.
func (e *Engine) subjects(id tree.ID, targets []tree.Target) []plan.Subject {
	list := make([]plan.Subject, len(targets))
	for i, t := range targets {
		list[i] = plan.Subject{ID: id, Target: t, Built: e.tree.IsBuilt(id, t), Installed: e.tree.IsInstalled(id, t)}
	}
	return list
}

// buildOrInstall carries out build and install, adding the version first where
// it is not registered.
func (e *Engine) buildOrInstall(ctx context.Context, req *Request) (code exit.Code, err error) {
	err = e.locking(ctx, req, func() error {
		if err := e.bringIn(ctx, req); err != nil {
			return err
		}
		id, err := e.id(req)
		if err != nil {
			return err
		}
		targets, err := e.targets(req, e.discover)
		if err != nil {
			return err
		}
		switch e.tree.State(id) {
		case tree.Broken:
			return e.broken(id)
		case tree.Absent:
			if req.DryRun && req.Archive != "" {
				break // ldtarball has said so
			}
			if err := e.registerFor(ctx, req, id); err != nil {
				return err
			}
		}
		subjects := e.subjects(id, targets)
		for i, s := range subjects {
			subjects[i].Installed = s.Installed && (req.Verb == Build || req.Force || e.whole(id, s.Target))
			needed := req.Verb == Build || req.Force || !subjects[i].Installed
			subjects[i].Built = s.Built && (!needed || e.usable(id, s.Target)) || slices.Contains(req.unloaded, s.Target)
		}
		p := e.planFor(req, subjects)
		code, err = e.carryThrough(ctx, req, p, nil)
		return err
	})
	return code, err
}

// whole tells whether the files of an installed version are what they should
// be, and says so where they are not.
func (e *Engine) whole(id tree.ID, t tree.Target) bool {
	m, err := e.tree.Manifest(id, t)
	if err != nil || m == nil {
		return true // the original's, which is taken at its word
	}
	file, why := e.installer.Damage(m)
	if file != "" {
		e.report.Warnf("%s: %s %s; it is installed again", id, file, why)
	}
	return file == ""
}

// usable tells whether a build that is there may be installed, and says so where
// it may not.
func (e *Engine) usable(id tree.ID, t tree.Target) bool {
	if e.installer.Usable(id, t) {
		return true
	}
	e.report.Warnf("%s: the build for %s is damaged or was never finished; it is built again", id, t)
	return false
}

// bringIn makes the request name a module where it names a source directory or
// an archive, whose sources it copies.
func (e *Engine) bringIn(ctx context.Context, req *Request) error {
	if req.Name != "" {
		return nil
	}
	if req.Archive != "" {
		return e.ldtarball(ctx, req)
	}
	err := e.importSource(ctx, req)
	if exit.Status(err) == exit.AlreadyAdded && req.Name != "" {
		return exit.Errorf(exit.AlreadyAdded, "%w", err).
			WithHint("dkms %s %s/%s works on the registered sources; --force replaces them", req.Verb, req.Name, req.Version)
	}
	return err
}

// registerFor adds a version because something else was asked for; POST_ADD
// does not decide about that.
func (e *Engine) registerFor(ctx context.Context, req *Request, id tree.ID) error {
	err := e.register(ctx, req, id)
	if err != nil && e.tree.State(id) == tree.Added {
		e.report.Warnf("%v", err)
		return nil
	}
	return err
}

func (e *Engine) planFor(req *Request, subjects []plan.Subject) *plan.Plan {
	o := plan.Options{Force: req.Force}
	switch req.Verb {
	case Build:
		return plan.ForBuild(subjects, o)
	case Install:
		return plan.ForInstall(subjects, o)
	case Uninstall:
		return plan.ForUninstall(subjects)
	}
	return plan.ForUnbuild(subjects)
}

// carryThrough carries out a plan and gives the status of what failed first.
func (e *Engine) carryThrough(ctx context.Context, req *Request, p *plan.Plan, confs map[subject]conf.Result) (exit.Code, error) {
	r, err := e.carryOut(ctx, req, p, confs)
	if err != nil {
		return 0, err
	}
	return r.first(p), nil
}

// first is the exit status of a run over explicitly named modules: that of the
// first failure. What needed no step is mentioned.
func (r *run) first(p *plan.Plan) exit.Code {
	code := exit.OK
	for _, s := range r.order {
		res := r.results[s]
		if res.err != nil && code == exit.OK {
			code = exit.Status(res.err)
		}
	}
	for _, n := range p.Notes {
		if n.Outcome == plan.Ready {
			text := fmt.Sprintf("%s: %s", n.ID, n.Reason)
			if n.Target.Kernel != "" {
				text += " for " + n.Target.String()
			}
			r.report.Progressf("%s", text)
		}
	}
	return code
}

func (e *Engine) broken(id tree.ID) error {
	return exit.Errorf(exit.Broken, "%s is broken: %s does not lead to its sources", id, e.tree.SourceLink(id)).
		WithHint("put the sources back to %s and run: dkms add %s\nor forget it: dkms remove %s --all", e.tree.Sources(id), id, id)
}

// takeOut carries out uninstall, unbuild and remove.
func (e *Engine) takeOut(ctx context.Context, req *Request) (code exit.Code, err error) {
	id, err := e.id(req)
	if err != nil {
		return 0, err
	}
	err = e.locking(ctx, req, func() error {
		if err := e.mayTakeOut(id); err != nil {
			return err
		}
		if req.Verb == Remove && req.SafeUpgrade && e.upgrading(id, req.DryRun) {
			e.report.Warnf("%s: not removed: the running transaction has just added it (--rpm_safe_upgrade)", id)
			return nil
		}
		targets, err := e.takeOutTargets(req, id)
		if err != nil {
			return err
		}
		p := e.planTakeOut(req, id, targets)
		code, err = e.carryThrough(ctx, req, p, nil)
		return err
	})
	return code, err
}

// mayTakeOut: whatever the tree holds of a version can be taken out, also when
// its sources are lost; the original leaves the reader alone with those.
func (e *Engine) mayTakeOut(id tree.ID) error {
	if system.IsDir(e.tree.VersionDir(id)) {
		return nil
	}
	return exit.Errorf(exit.NotAdded, "%s is not registered with dkms", id).
		WithHint("dkms status lists what is")
}

// takeOutTargets are the kernels that a version is taken out of.
func (e *Engine) takeOutTargets(req *Request, id tree.ID) ([]tree.Target, error) {
	if !req.All {
		return e.targets(req, e.running)
	}
	var list []tree.Target
	versions, err := e.tree.Versions(id.Name)
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		if v.ID != id {
			continue
		}
		for _, b := range v.Builds {
			list = append(list, b.Target)
		}
	}
	return list, nil
}

func (e *Engine) planTakeOut(req *Request, id tree.ID, targets []tree.Target) *plan.Plan {
	subjects := e.subjects(id, targets)
	if req.Verb != Remove {
		return e.planFor(req, subjects)
	}
	versions, err := e.tree.Versions(id.Name)
	others := err != nil // what cannot be read may be a build
	for _, v := range versions {
		for _, b := range v.Builds {
			others = others || v.ID == id && !slices.Contains(targets, b.Target)
		}
	}
	return plan.ForRemove(id, subjects, others)
}
