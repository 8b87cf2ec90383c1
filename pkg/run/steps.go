package run

import (
	"context"
	"maps"
	"os"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/install"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// install installs a build into the directory of its kernel.
func (x *executor) install(ctx context.Context, s plan.Step, sub machine.Subject) (changed bool, err error) {
	if x.scratch { // builds that depend on this one find it without an installation
		return true, x.w.Tree.Activate(sub.ID, sub.Target)
	}
	if x.meanwhile(s, sub) {
		return false, nil
	}
	c, err := x.conf(sub)
	if err != nil {
		return false, err
	}
	if err := x.w.CheckMeantFor(sub, c); err != nil { // otherwise there would be no file to install
		return false, err
	}
	set := x.set(sub, c)
	if err := x.w.Installer.Check(set); err != nil {
		return false, err
	}
	extend, err := machine.AsExtension(x.w.Machine, sub)
	if err != nil {
		return false, err
	}
	env := scriptEnv(sub)
	maps.Copy(env, c.Env)
	if err := runScript(ctx, x.w.Machine, sub.ID, "PRE_INSTALL", c.PreInstall, env); err != nil && !x.Force {
		return false, exit.Errorf(exit.PreInstallFailed, "%s: PRE_INSTALL refused: %w", sub.ID, err)
	}
	hook := ""
	if s.Replaces && x.w.Tree.IsInstalled(sub.ID, sub.Target) { // packages rely on POST_REMOVE and POST_INSTALL as a pair
		hook = postRemove(ctx, x.w.Machine, sub)
	}
	if err := x.w.Touch(sub); err != nil {
		return false, err
	}
	if !s.Auto || x.Force { // somebody wants it
		if err := x.w.Tree.ForgetHold(sub.ID, sub.Target); err != nil {
			return false, err
		}
	}
	before := x.w.Tree.Active(sub.Name, sub.Target)
	if extend {
		x.w.Fresh(sub.Target) // the extension has the index
		err = extending{x.w, sub}.install(ctx, set)
	} else {
		err = x.w.Installer.Install(ctx, set)
	}
	if err != nil {
		return false, err
	}
	if err := dropRestored(x.w, before, sub); err != nil {
		x.w.Report.Warnf("%s/%s: %v", sub.Name, before, err)
	}
	x.installed = append(x.installed, sub)
	x.w.Tree.ForgetFailure(sub.ID, sub.Target)
	if !extend {
		x.weak(ctx, sub, true)
	}
	runPostRemove(ctx, x.w.Machine, sub, hook)
	if err := runScript(ctx, x.w.Machine, sub.ID, "POST_INSTALL", c.PostInstall, env); err != nil && ctx.Err() == nil {
		x.w.Report.Warnf("%s: %v; the module is installed all the same", sub.ID, err)
	}
	return true, nil
}

// set is the set to install for a subject.
func (x *executor) set(sub machine.Subject, c *conf.Module) *install.Set {
	set := &install.Set{
		ID: sub.ID, Kernel: x.w.Kernel(sub.Target), Conf: c, Records: x.w.Records(c, sub.Target),
		Force: x.Force || x.SafeUpgrade, ForceVersion: x.ForceVersion,
	}
	if force, version := forcedInstall(x.w.Machine, sub.Name); force || version {
		x.w.Report.Progressf("%s: installation is forced by a list in /usr/share/dkms/modules_to_force_install", sub.ID)
		set.Force, set.ForceVersion = set.Force || force, set.ForceVersion || version
	}
	return set
}

func (x *executor) uninstall(ctx context.Context, sub machine.Subject) (changed bool, err error) {
	extended, err := machine.AsExtension(x.w.Machine, sub)
	if err != nil {
		return false, err
	}
	if !extended {
		x.weak(ctx, sub, false)
	}
	hook := postRemove(ctx, x.w.Machine, sub)
	if err := x.w.Touch(sub); err != nil {
		return false, err
	}
	if x.back == nil { // somebody wants it away, and an undo does not decide any more
		if err := x.w.Tree.ForgetHold(sub.ID, sub.Target); err != nil {
			return false, err
		}
	}
	if extended {
		x.w.Fresh(sub.Target)
		err = extending{x.w, sub}.withdraw(ctx)
	} else {
		err = x.w.Installer.Uninstall(sub.ID, x.w.Kernel(sub.Target))
	}
	if err != nil {
		return false, err
	}
	runPostRemove(ctx, x.w.Machine, sub, hook)
	return true, nil
}

// runPostRemove runs POST_REMOVE; a failure is only a warning. Builds for several
// kernels share the other files of a package: the script deletes these files
// only when kernels_left is empty.
func runPostRemove(ctx context.Context, m *machine.Machine, sub machine.Subject, hook string) {
	env := scriptEnv(sub)
	var left []string
	for _, k := range m.Tree.ActiveTargets(sub.Name) {
		left = append(left, k.Kernel)
	}
	env["kernels_left"] = strings.Join(left, " ")
	if err := runScript(ctx, m, sub.ID, "POST_REMOVE", hook, env); err != nil && ctx.Err() == nil {
		m.Report.Warnf("%s: %v; the module is taken out all the same", sub.ID, err)
	}
}

// postRemove is the POST_REMOVE of a version, from the manifest or, for builds
// of the original, from the dkms.conf if that is readable.
func postRemove(ctx context.Context, m *machine.Machine, sub machine.Subject) string {
	if made, err := m.Tree.Manifest(sub.ID, sub.Target); err == nil && made != nil {
		return made.PostRemove
	}
	c, err := m.Conf(ctx, sub, m.ConfFile(sub))
	if err != nil {
		m.Report.Warnf("%s: no POST_REMOVE is run: %v", sub.ID, err)
		return ""
	}
	return c.PostRemove
}

// weak reports the installed files of a subject to the distribution's
// weak-modules program, unless the package or the caller has switched that off.
func (x *executor) weak(ctx context.Context, sub machine.Subject, add bool) {
	m, err := x.w.Tree.Manifest(sub.ID, sub.Target)
	if err != nil || m == nil || m.NoWeakModules || x.w.Host.Env["NO_WEAK_MODULES"] != "" {
		return
	}
	var files []string
	for _, f := range m.Installed {
		if _, err := os.Lstat(f.Path); err == nil {
			files = append(files, f.Path)
		}
	}
	for _, release := range x.w.Installer.Weak(ctx, sub.Kernel, files, add) {
		x.w.Stale(tree.Target{Kernel: release, Arch: sub.Arch})
	}
}

// checkDepends makes sure that the modules that a version builds on are
// installed.
func (x *executor) checkDepends(sub machine.Subject, c *conf.Module, to *report.Reporter) error {
	for _, name := range c.BuildDepends {
		if dependsOn(x.w.Machine.Tree, name, sub.Target) {
			continue
		}
		if x.Force {
			to.Warnf("%s: builds on %s, which is not installed for %s; going on because of --force", sub.ID, name, sub.Target)
			continue
		}
		return exit.Errorf(exit.DependsMissing, "%s: kernel %s: builds on %s, which is not installed", sub.ID, sub.Kernel, name).
			WithHint("install %s first, or use --force", name)
	}
	return nil
}

// dependsOn tells whether a version of a package whose name matches the shell
// pattern is installed for a target.
func dependsOn(t *tree.Tree, pattern string, k tree.Target) bool {
	names, _ := t.Names()
	for _, n := range names {
		if !machine.Matches(pattern, n) {
			continue
		}
		if v := t.Active(n, k); v != "" && t.IsBuilt(tree.ID{Name: n, Version: v}, k) {
			return true
		}
	}
	return false
}

// dependsToRecord are the packages that a build was made against and whose new
// versions require the build to be made again.
func (x *executor) dependsToRecord(c *conf.Module) []string {
	if !c.BuildDependsRebuild || x.Force || x.scratch {
		return nil
	}
	return c.BuildDepends
}

// forcedInstall looks the package up in the distribution's lists of modules to
// install with force: a word NAME stands for --force, and a word
// NAME_version-override for --force-version-override.
func forcedInstall(m *machine.Machine, name string) (force, version bool) {
	for _, file := range m.Host.Root.Glob("/usr/share/dkms/modules_to_force_install/*") {
		if !system.IsFile(file) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			m.Report.Warnf("%v", err)
			continue
		}
		for _, word := range strings.Fields(string(data)) {
			switch word {
			case name:
				return true, false
			case name + "_version-override":
				return false, true
			}
		}
	}
	return false, false
}

// scriptEnv are the environment variables that describe the subject to scripts
// and make; packages rely on their names.
func scriptEnv(s machine.Subject) map[string]string {
	return map[string]string{"module": s.Name, "module_version": s.Version, "kernelver": s.Kernel, "arch": s.Arch}
}
