package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Package is the request of common.postinst, on behalf of a distribution
// package with the sources of a module.
type Package struct {
	tree.ID
	// TarballDir may hold NAME-VERSION.dkms.tar.gz, which is loaded if it
	// exists.
	TarballDir string
	// Arch is the architecture to build for; empty means the machine's own.
	Arch string
	// UpgradedFrom is the version before the upgrade.
	UpgradedFrom string
}

// PackageInstalled adds the version of a package, and adds it again if it was
// already added, and installs it for the kernels that matter. The status is
// that of the last failure; a kernel that is left out on purpose is not a
// failure.
func PackageInstalled(ctx context.Context, m *machine.Machine, p Package) (code exit.Code, err error) {
	if p.Name == "" || p.Version == "" {
		return 0, exit.Errorf(exit.Usage, "no module and version were given").
			WithHint("common.postinst NAME VERSION [TARBALL_DIR] [ARCH] [UPGRADED_FROM]")
	}
	if err := p.Check(); err != nil {
		return 0, err
	}
	if switchedOff(m) {
		return exit.OK, nil
	}
	err = transact(ctx, m, "install", Options{}, func(w *machine.Writer) error {
		v := &verb{m, w, "install", machine.Choice{}, Options{}}
		code, err = v.addAnew(ctx, p)
		if err != nil || code != exit.OK || m.Tree.State(p.ID) != tree.Added {
			return err
		}
		code, err = v.installPackage(ctx, p)
		return err
	})
	return code, err
}

// addAnew registers the version of a package. Index updates wait for the end of
// the run.
func (v *verb) addAnew(ctx context.Context, p Package) (exit.Code, error) {
	if system.IsDir(v.Tree.VersionDir(p.ID)) {
		subjects, err := allBuilds(v.Tree, p.ID)
		if err != nil {
			return 0, err
		}
		code, err := named(ctx, v.Machine, v.w, Options{NoDepmod: true}, job{plan: plan.ForRemove(p.ID, subjects, false)})
		if err != nil || code != exit.OK {
			return code, err
		}
	}
	tarball := filepath.Join(p.TarballDir, p.ID.Name+"-"+p.ID.Version+".dkms.tar.gz")
	switch {
	case p.TarballDir != "" && system.IsFile(v.Host.Abs(tarball)):
		if _, err := v.load(ctx, Named{Archive: tarball}); err != nil {
			return 0, exit.Errorf(exit.NoSource, "%w", err).WithHint("%s", exit.Hint(err))
		}
		return exit.OK, nil
	case system.IsDir(v.Tree.Sources(p.ID)):
		return exit.OK, v.register(ctx, brought{ID: p.ID, sources: v.Tree.Sources(p.ID)}, "")
	}
	v.Report.Progressf("%s: %s does not exist, nothing to add", p.ID, v.Tree.Sources(p.ID))
	return exit.OK, nil
}

// installPackage installs the version of a package if its AUTOINSTALL is set.
func (v *verb) installPackage(ctx context.Context, p Package) (exit.Code, error) {
	targets := v.packageTargets(p)
	if len(targets) == 0 {
		v.Report.Progressf("%s: not built, no kernel with headers was found", p.ID)
		return exit.OK, nil
	}
	c, err := v.Conf(ctx, machine.Subject{ID: p.ID, Target: targets[0]}, v.Tree.Conf(p.ID))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s: %w", p.ID, err)
	case !c.Autoinstall:
		v.Report.Progressf("%s: not built, AUTOINSTALL is not set in its dkms.conf; to build it: dkms install %s", p.ID, p.ID)
		return exit.OK, nil
	}
	facts, err := v.Facts()
	if err != nil {
		return 0, err
	}
	var subjects []plan.Subject
	for _, s := range facts.Subjects(p.ID, targets) {
		if (!s.Built || s.Stale != "") && v.CheckHeaders(s.Target) != nil {
			v.Report.Progressf("%s: not built for %s, its headers are not installed", p.ID, s.Target.Kernel)
			continue
		}
		subjects = append(subjects, s)
	}
	x, err := carryOut(ctx, v.Machine, v.w, Options{}, job{
		plan: plan.ForInstall(subjects, plan.Options{}), source: prebuiltSource(v.Machine, Options{}, true), command: true,
		firstFailure: !v.Framework.ContinueOnError,
	})
	if err != nil {
		return 0, err
	}
	return x.packageStatus(p.ID), nil
}

// packageStatus is the status of the last failure; it also reports the kernels
// with failures.
func (x *executor) packageStatus(id tree.ID) exit.Code {
	code := exit.OK
	var kernels []string
	for _, s := range x.order {
		if err := x.results[s].err; err != nil && exit.Status(err) != exit.Excluded {
			code = exit.Status(err)
			kernels = append(kernels, s.Kernel)
		}
	}
	if len(kernels) > 0 {
		x.w.Report.Progressf("%s: failed for kernel(s) %s", id, strings.Join(kernels, " "))
	}
	return code
}

// packageTargets are the kernels that the installation of a package builds for:
// the running and the newest kernel. It is all kernels if the administrator
// wants that, or if the running kernel is not a kernel of this system (a
// chroot, an image).
func (v *verb) packageTargets(p Package) []tree.Target {
	arch := kernel.Arch(p.Arch, v.Host.Machine)
	if p.Arch == "" {
		arch = v.Host.Machine
	}
	var list []tree.Target
	for _, release := range v.packageKernels(p.UpgradedFrom != "") {
		t := tree.Target{Kernel: release, Arch: arch}
		if !strings.Contains(release, "BOOT") && t.Check() == nil {
			list = append(list, t)
		}
	}
	return list
}

func (v *verb) packageKernels(upgrade bool) []string {
	var all []string
	for _, release := range kernel.Installed(v.Host.Root) {
		if system.IsDir(filepath.Join(v.Host.Root.InstallTree(), release, "build")) {
			all = append(all, release)
		}
	}
	if v.Framework.AutoinstallAllKernels {
		return all
	}
	last, running := v.newestKernel(), v.Host.Release
	switch {
	case running != "" && system.IsDir(filepath.Join(v.Host.Root.InstallTree(), running)):
		if last != "" && version.Natural(running, last) < 0 {
			return []string{running, last}
		}
		return []string{running}
	case last != "" && upgrade:
		return []string{last}
	}
	return all
}

// newestKernel is the newest kernel that has an image or a configuration, and a
// module directory; it is "" if there is none.
func (v *verb) newestKernel() string {
	var list []string
	entries, _ := os.ReadDir(v.Host.Root.Path("/boot"))
	for _, e := range entries {
		for _, prefix := range []string{"config-", "vmlinuz-"} {
			if release, ok := strings.CutPrefix(e.Name(), prefix); ok {
				list = append(list, release)
			}
		}
	}
	entries, _ = os.ReadDir(v.Host.Root.InstallTree())
	for _, e := range entries {
		if system.IsFile(filepath.Join(v.Host.Root.InstallTree(), e.Name(), "vmlinuz")) {
			list = append(list, e.Name())
		}
	}
	list = slices.DeleteFunc(list, func(release string) bool {
		return !system.PlainName(release) || !system.IsDir(filepath.Join(v.Host.Root.InstallTree(), release))
	})
	slices.SortFunc(list, version.Natural)
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// changes are the source directories and kernels of a transaction of a package
// manager.
type changes struct{ sources, kernels []string }

// readPaths reads the paths of a transaction, one per line, as pacman's hooks
// get them (alpm-hooks(5), NeedsTargets). It ignores paths that are neither
// sources nor kernels.
func readPaths(in io.Reader) (changes, error) {
	var c changes
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		part := strings.Split(strings.TrimPrefix(lines.Text(), "/"), "/")
		switch {
		case len(part) == 4 && strings.Join(part[:2], "/") == "usr/src" && part[3] == "dkms.conf" && system.PlainName(part[2]):
			c.sources = appendOnce(c.sources, part[2])
		case len(part) < 5 || strings.Join(part[:3], "/") != "usr/lib/modules" || !system.PlainName(part[3]):
		case strings.Join(part[4:], "/") == "build/include/", strings.Join(part[4:], "/") == "modules.order":
			c.kernels = appendOnce(c.kernels, part[3])
		}
	}
	slices.Sort(c.sources)
	slices.SortFunc(c.kernels, version.Natural)
	return c, lines.Err()
}

func appendOnce(list []string, word string) []string {
	if slices.Contains(list, word) {
		return list
	}
	return append(list, word)
}

// PathsInstalled registers the sources that a transaction has installed. It
// then installs what is missing: these modules for every kernel, and all
// modules for the kernels that the transaction has installed.
func PathsInstalled(ctx context.Context, m *machine.Machine, in io.Reader) (code exit.Code, err error) {
	c, err := readPaths(in)
	if err != nil || len(c.sources)+len(c.kernels) == 0 || switchedOff(m) {
		return exit.OK, err
	}
	err = transact(ctx, m, "install", Options{}, func(w *machine.Writer) error {
		v := &verb{m, w, "install", machine.Choice{}, Options{}}
		wanted := map[tree.ID]bool{}
		for _, dir := range c.sources {
			if id, err := v.registerDir(ctx, dir); err != nil {
				m.Report.Warnf("%s: %v", filepath.Join(m.Host.Root.SourceTree(), dir), err)
			} else {
				wanted[id] = true
			}
		}
		if len(c.kernels) > 0 {
			v.registerOthers(ctx)
		}
		code, err = v.installChanges(ctx, c.kernels, wanted)
		return err
	})
	return code, err
}

// registerDir registers the sources in a directory of the source tree.
func (v *verb) registerDir(ctx context.Context, name string) (tree.ID, error) {
	dir := filepath.Join(v.Host.Root.SourceTree(), name)
	id, err := v.identify(ctx, dir)
	if err != nil || v.Tree.State(id) == tree.Added {
		return id, err
	}
	return id, v.register(ctx, brought{ID: id, sources: dir}, "")
}

// registerOthers registers those modules of the source tree that have no
// registered version. It ignores sources that cannot be read: their author has
// to fix them.
func (v *verb) registerOthers(ctx context.Context) {
	entries, _ := os.ReadDir(v.Host.Root.SourceTree())
	for _, e := range entries {
		dir := filepath.Join(v.Host.Root.SourceTree(), e.Name())
		if !system.IsFile(filepath.Join(dir, "dkms.conf")) {
			continue
		}
		id, err := v.identify(ctx, dir)
		if err != nil || system.IsDir(v.Tree.ModuleDir(id.Name)) {
			continue
		}
		if err := v.register(ctx, brought{ID: id, sources: dir}, ""); err != nil {
			v.Report.Warnf("%v", err)
		}
	}
}

// installChanges carries out the autoinstall of the wanted modules for every
// kernel with headers, and of all modules for the new kernels.
func (v *verb) installChanges(ctx context.Context, came []string, wanted map[tree.ID]bool) (exit.Code, error) {
	facts, err := v.Facts()
	if err != nil {
		return 0, err
	}
	whole := &plan.Plan{}
	var targets []tree.Target
	for _, release := range kernel.Installed(v.Host.Root) {
		t := tree.Target{Kernel: release, Arch: v.Host.Machine}
		isNew := slices.Contains(came, release)
		if !v.Kernel(t).HasHeaders() || !isNew && !system.IsFile(filepath.Join(v.Kernel(t).ModuleDir(), "modules.order")) {
			if isNew {
				v.Report.Progressf("kernel %s: modules are built once its headers are there", release)
			}
			continue
		}
		p := facts.PlanAutoinstall(ctx, []tree.Target{t}, false)
		if !isNew {
			p.Only(func(id tree.ID) bool { return wanted[id] })
		}
		whole.Append(p)
		targets = append(targets, t)
	}
	x, err := carryOut(ctx, v.Machine, v.w, Options{}, job{
		plan: whole, confs: facts.KnownConfs(), source: prebuiltSource(v.Machine, Options{}, false), command: true,
	})
	if err != nil {
		return 0, err
	}
	return x.summary(targets), nil
}

// PathsRemoved removes the modules whose sources a transaction is about to
// delete, and drops the builds for kernels that are about to be removed.
func PathsRemoved(ctx context.Context, m *machine.Machine, in io.Reader) (code exit.Code, err error) {
	c, err := readPaths(in)
	if err != nil || len(c.sources)+len(c.kernels) == 0 {
		return exit.OK, err
	}
	err = transact(ctx, m, "remove", Options{}, func(w *machine.Writer) error {
		var errs []error
		for _, release := range c.kernels {
			t := tree.Target{Kernel: release, Arch: m.Host.Machine}
			if got, err := dropBuilds(ctx, m, w, t, false, Options{NoDepmod: true}); err != nil || got != exit.OK {
				errs = append(errs, err)
				code = exit.KernelHookFailed
			}
			w.Fresh(t) // the package of the kernel deletes the index
		}
		all, err := m.Tree.Registered()
		for _, v := range all {
			if !slices.ContainsFunc(c.sources, func(dir string) bool { return leadsTo(m, v.ID, dir) }) {
				continue
			}
			subjects, err := allBuilds(m.Tree, v.ID)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			got, err := named(ctx, m, w, Options{NoDepmod: true}, job{plan: plan.ForRemove(v.ID, subjects, false)})
			if errs = append(errs, err); got != exit.OK {
				code = exit.KernelHookFailed
			}
		}
		return errors.Join(append(errs, err)...)
	})
	return code, err
}

// allBuilds lists the builds of a version for all kernels.
func allBuilds(t *tree.Tree, id tree.ID) ([]plan.Subject, error) {
	targets, err := buildsOf(t, id)
	var list []plan.Subject
	for _, k := range targets {
		list = append(list, inTree(t, id, k))
	}
	return list, err
}

// leadsTo tells whether a version was registered from a directory of the source
// tree.
func leadsTo(m *machine.Machine, id tree.ID, dir string) bool {
	to, err := os.Readlink(m.Tree.SourceLink(id))
	return err == nil && filepath.Clean(to) == filepath.Join(m.Host.Root.SourceTree(), dir)
}
