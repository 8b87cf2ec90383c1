package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/archive"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Guard rehearses every module for the kernels whose headers are about to be
// installed, from the package files and without changing anything, and says which
// of them will not build. The status is 11 if one will not, and upgrade_guard asks
// to refuse the transaction then; otherwise it is 0. Trouble of the guard itself
// never refuses anything.
func Guard(ctx context.Context, m *machine.Machine, t Transaction) (exit.Code, error) {
	if m.Framework.UpgradeGuard == "off" || switchedOff(m) {
		return exit.OK, nil
	}
	c, err := t.read(ctx, m)
	if err != nil || len(c.headers)+len(c.images) == 0 {
		return exit.OK, err
	}
	_, sources, err := candidates(ctx, m, Rehearsing{}, Options{})
	if err != nil || len(sources)+len(c.modules) == 0 {
		return exit.OK, err
	}
	dir, err := os.MkdirTemp(m.Framework.TmpLocation, "dkms-guard.")
	if err != nil {
		return exit.OK, err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return exit.OK, err
	}
	m.Tree.ClearRehearsed() // those of a transaction that never came
	limit := m.Framework.UpgradeGuardTime
	m.Report.Progressf("rehearsing the modules for the kernels that are about to be installed, for at most %s", report.About(limit))
	within, stop := context.WithTimeout(ctx, limit)
	defer stop()
	g := &guard{Machine: m, coming: c, dir: dir, sources: sources}
	bad, err := g.run(within)
	switch {
	case ctx.Err() != nil:
		return exit.OK, context.Cause(ctx)
	case within.Err() != nil:
		m.Report.Warnf("the rehearsal took longer than %s (upgrade_guard_time); whether every module builds is known when the kernel is installed", report.About(limit))
	case err != nil:
		m.Report.Warnf("whether every module builds for the new kernel is not known before it is installed: %v", err)
	}
	if !bad {
		return exit.OK, nil
	}
	if m.Framework.UpgradeGuard == "refuse" {
		m.Tree.ClearRehearsed()
		m.Report.Error(exit.Errorf(exit.SomeFailed, "nothing is installed: upgrade_guard=refuse in framework.conf").
			WithHint("upgrade_guard=warn in framework.conf goes on all the same"))
		return exit.SomeFailed, nil
	}
	m.Report.Warnf("do not boot the new kernel if you need them; upgrade_guard=refuse in framework.conf would stop here")
	return exit.OK, nil
}

// guard is the rehearsal before a transaction.
type guard struct {
	*machine.Machine
	coming
	dir     string
	sources []brought
}

// run tells whether a module will not build for one of the kernels.
func (g *guard) run(ctx context.Context) (bad bool, err error) {
	if err := g.afterwards(ctx); err != nil {
		return false, err
	}
	aside := filepath.Join(g.dir, "headers")
	found := map[string]string{}
	if len(g.headers) > 0 {
		u := &unpacked{Machine: g.Machine, dir: aside, files: g.headers}
		if err := u.unpack(ctx); err != nil {
			return false, err
		}
		found = kernel.HeadersBelow(aside)
	}
	for _, release := range slices.SortedFunc(maps.Keys(found), version.Natural) {
		on := g.WithHeaders(found[release], aside)
		on.Report = report.New(io.Discard) // what is to be said fits into one block
		r, err := rehearse(ctx, on, tree.Target{Kernel: release, Arch: g.Host.Machine}, "", g.sources, trial{dir: g.dir, keep: true})
		if err != nil {
			return bad, err
		}
		bad = g.tell(&r) || bad
	}
	for _, release := range g.images {
		if found[release] == "" && !g.Kernel(tree.Target{Kernel: release, Arch: g.Host.Machine}).HasHeaders() {
			g.Report.Warnf("kernel %s comes without its headers, so no module can be built for it; install linux-headers-%s with it", release, release)
			bad = true
		}
	}
	return bad, nil
}

// tell prints the result for a kernel in one block.
func (g *guard) tell(r *Rehearsal) (bad bool) {
	var failed, unknown []Rehearsed // unknown are those that only an isolated build could tell of
	all := 0
	for _, mod := range r.Modules {
		switch machine.State(mod.State) {
		case machine.Unwanted, machine.Excluded:
			continue
		case machine.Failed, machine.BrokenSource:
			failed = append(failed, mod)
		case untried:
			unknown = append(unknown, mod)
		}
		all++
	}
	for _, mod := range unknown {
		g.Report.Warnf("%s/%s: whether it builds for %s is not known before the kernel is installed: %s", mod.Module, mod.Version, r.Kernel, mod.Reason)
	}
	if len(failed) == 0 {
		switch {
		case len(unknown) == 0 && all > 0:
			g.Report.Progressf("every module builds for %s", r.Kernel)
		case len(unknown) < all:
			g.Report.Progressf("every other module builds for %s", r.Kernel)
		}
		return false
	}
	lines := []string{fmt.Sprintf("%d of %d modules will not build for %s:", len(failed), all, r.Kernel)}
	for _, mod := range failed {
		id := tree.ID{Name: mod.Module, Version: mod.Version}
		lines = append(lines, "  "+id.String()+": "+g.Brief(machine.Subject{ID: id, Target: tree.Target{Kernel: r.Kernel, Arch: r.Arch}}, mod.Reason))
	}
	lines = append(lines, "the whole log: dkms rehearse "+failed[0].Module+" --headers "+g.fileFor(r.Kernel))
	g.Report.Warnf("%s", strings.Join(lines, "\n"))
	return true
}

// fileFor is the package file with the headers of a kernel.
func (g *guard) fileFor(release string) string {
	for _, file := range g.headers {
		if strings.Contains(filepath.Base(file), release) {
			return file
		}
	}
	return g.headers[0]
}

// afterwards makes the sources those that there will be after the transaction:
// without those of packages that go or are replaced, and with those of packages
// that come.
func (g *guard) afterwards(ctx context.Context) error {
	gone := map[string]bool{}
	for _, name := range g.leaving {
		for _, dir := range sourcesOfPackage(g.Host.Root, name) {
			gone[dir] = true
		}
	}
	g.sources = slices.DeleteFunc(g.sources, func(b brought) bool { return gone[b.sources] || gone[g.Tree.Sources(b.ID)] })
	if len(g.modules) == 0 {
		return nil
	}
	aside := filepath.Join(g.dir, "modules")
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, file := range g.modules {
		errs = append(errs, archive.UnpackPackage(ctx, g.Machine.Run, file, aside))
	}
	v := &verb{g.Machine, nil, "rehearse", machine.Choice{}, Options{}}
	for _, file := range system.Glob(aside, "usr/src/*/dkms.conf") {
		id, err := v.identify(ctx, filepath.Dir(file))
		if errs = append(errs, err); err != nil {
			continue
		}
		g.sources = slices.DeleteFunc(g.sources, func(b brought) bool { return b.ID == id })
		g.sources = append(g.sources, brought{ID: id, sources: filepath.Dir(file)})
	}
	return errors.Join(errs...)
}
