package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/plan"
	"dkms/pkg/tree"
)

// checkDepends makes sure that what a version builds on is installed.
func (r *run) checkDepends(sub subject, c *conf.Module) error {
	for _, name := range c.BuildDepends {
		if r.dependsOn(name, sub.Target) {
			continue
		}
		if r.req.Force {
			r.report.Warnf("%s: builds on %s, which is not installed for %s; going on because of --force", sub.ID, name, sub.Target)
			continue
		}
		return exit.Errorf(exit.DependsMissing, "%s: kernel %s: builds on %s, which is not installed", sub.ID, sub.Kernel, name).
			WithHint("install %s first, or use --force", name)
	}
	return nil
}

// dependsOn tells whether a version of a package whose name matches the shell
// pattern is installed for a target.
func (e *Engine) dependsOn(pattern string, t tree.Target) bool {
	names, _ := e.tree.Names()
	for _, n := range names {
		if ok, err := filepath.Match(pattern, n); err != nil || !ok {
			continue
		}
		if v := e.tree.Active(n, t); v != "" && e.tree.IsBuilt(tree.ID{Name: n, Version: v}, t) {
			return true
		}
	}
	return false
}

// dependsToRecord are the packages that a build was made against, for packages
// that want to be rebuilt with them.
func (r *run) dependsToRecord(c *conf.Module) []string {
	if !c.BuildDependsRebuild || r.req.Force {
		return nil
	}
	return c.BuildDepends
}

// rebuildDependents adds steps that rebuild what was built against another
// version of the package just installed and asked to be
// (BUILD_DEPENDS_REBUILD). The old builds stay until the new ones are ready; a
// rebuild that fails is the failure of that package alone.
func (r *run) rebuildDependents(ctx context.Context, p *plan.Plan, provider subject) {
	if r.req.Force {
		return
	}
	all, err := r.tree.All()
	if err != nil {
		r.report.Warnf("%v", err)
		return
	}
	for _, v := range all {
		dependent := subject{v.ID, provider.Target}
		old := r.tree.RecordedDepend(v.ID, provider.Target, provider.Name)
		if v.State != tree.Added || old == "" || old == provider.Version || !r.tree.IsBuilt(v.ID, provider.Target) {
			continue
		}
		if _, planned := r.results[dependent]; planned {
			continue
		}
		r.confs[dependent] = r.Engine.confs(ctx, []subject{dependent}, r.confFile)[0]
		reason := fmt.Sprintf("was built against %s/%s, and %s is installed now", provider.Name, old, provider.ID)
		r.report.Progressf("%s: %s: building it again", v.ID, reason)
		needs := []int{p.Add(plan.Step{Kind: plan.Build, ID: v.ID, Target: provider.Target, Reason: reason})}
		if r.tree.IsInstalled(v.ID, provider.Target) {
			p.Add(plan.Step{Kind: plan.Install, ID: v.ID, Target: provider.Target, Reason: reason, Needs: needs})
		}
		r.failed = append(r.failed, make([]bool, len(p.Steps)-len(r.failed))...)
	}
}

// weak tells the distribution's weak-modules program of the installed files of
// a subject, unless the package or the caller does not want that.
func (r *run) weak(ctx context.Context, sub subject, add bool) {
	m, err := r.tree.Manifest(sub.ID, sub.Target)
	if err != nil || m == nil || m.NoWeakModules || r.host.Env["NO_WEAK_MODULES"] != "" {
		return
	}
	var files []string
	for _, f := range m.Installed {
		if _, err := os.Lstat(f.Path); err == nil {
			files = append(files, f.Path)
		}
	}
	for _, release := range r.installer.Weak(ctx, sub.Kernel, files, add) {
		r.stale(tree.Target{Kernel: release, Arch: sub.Arch})
	}
}
