package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/boot"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// GC removes what nothing needs: builds, and records of failed builds, for
// kernels that are gone, and registered versions that are older than the newest
// keep versions of their package and installed nowhere. Sources stay, and so
// does a version whose sources a package manager owns.
func GC(ctx context.Context, m *machine.Machine, keep int, o Options) (code exit.Code, err error) {
	err = transact(ctx, m, "gc", o, func(w *machine.Writer) error {
		facts, err := m.Facts()
		if err == nil {
			err = facts.Readable()
		}
		if err != nil {
			return err
		}
		g := &garbage{m: m, keep: keep, here: facts.Boot().Kernels, usable: map[string][]tree.ID{}}
		if g.versions, err = m.Tree.WithBuilds(facts.Registered()); err != nil {
			return err
		}
		for _, p := range facts.Packages() {
			g.usable[p.Name] = p.Usable()
		}
		p := plan.ForGC(g.unneeded(ctx, facts))
		gone := g.records()
		if len(p.Steps) == 0 && len(gone) == 0 {
			newest := "the newest of its package"
			if keep > 1 {
				newest = fmt.Sprintf("among the newest %d of its package", keep)
			}
			m.Report.Progressf("nothing to remove: every kernel with builds is here, and every registered version is in use or %s", newest)
			return nil
		}
		for _, t := range gone {
			if w == nil {
				would(m, "forget the failed and the previous builds for %s: %s", t, g.gone(t))
			} else if err := forgetFailures(m, w, t); err != nil {
				return err
			}
		}
		code, err = named(ctx, m, w, o, job{plan: p, command: true})
		for _, t := range m.Tree.KeptTargets() { // removal has kept what was installed
			if w != nil && g.gone(t) != "" {
				err = errors.Join(err, w.Tree.DropKept(t))
			}
		}
		if w == nil && err == nil {
			m.Report.Progressf("nothing was removed yet; dkms gc --yes does it")
		}
		return err
	})
	return code, err
}

// garbage finds what nothing needs.
type garbage struct {
	m        *machine.Machine
	keep     int
	here     []boot.Kernel
	versions []tree.Version
	// usable are the versions of each package with sources, newest first.
	usable map[string][]tree.ID
}

// gone says why nothing needs the builds for a target, or is empty. Headers
// alone are enough to keep builds: a kernel may be about to be installed. On a
// system without kernels, such as a container, no kernel counts as gone.
func (g *garbage) gone(t tree.Target) string {
	isHere := func(k boot.Kernel) bool { return k.Release == t.Kernel }
	if len(g.here) == 0 || t.Kernel == g.m.Host.Release || slices.ContainsFunc(g.here, isHere) || g.m.Kernel(t).HasHeaders() {
		return ""
	}
	return fmt.Sprintf("kernel %s is not on this machine any more", t.Kernel)
}

// unneeded lists what nothing needs of all versions.
func (g *garbage) unneeded(ctx context.Context, facts *machine.Facts) (list []plan.Unneeded) {
	for _, v := range g.versions {
		all := plan.Unneeded{ID: v.ID}
		var gone []plan.Unneeded
		wanted := v.State != tree.Added && v.State != tree.Restored
		for _, b := range v.Builds {
			s := inTree(g.m.Tree, v.ID, b.Target)
			all.Subjects = append(all.Subjects, s)
			why := g.gone(b.Target)
			made := facts.Module(machine.Subject{ID: v.ID, Target: b.Target}).Manifest
			switch {
			case why == "":
				wanted = wanted || b.Installed
			case !b.Installed && (made == nil || len(made.Installed) == 0):
				wanted = true
				g.m.Report.Progressf("%s: the build for %s stays: it was never installed, so it may be meant for another machine", v.ID, b.Target)
			default:
				gone = append(gone, plan.Unneeded{ID: v.ID, Subjects: []plan.Subject{s}, Reason: why})
			}
		}
		if v.State == tree.Restored && !wanted {
			all.Forget, all.Reason = true, "an undo had brought it back, and it is installed for no kernel"
			list = append(list, all)
			continue
		}
		newer := g.newer(v.ID)
		if wanted || len(newer) < g.keep || g.owned(ctx, v.ID) {
			list = append(list, gone...)
			continue
		}
		all.Forget, all.Reason = true, fmt.Sprintf("%s is newer, and %s is installed for no kernel", newer[0].Version, v.Version)
		list = append(list, all)
	}
	return list
}

// newer lists the versions of a package that are newer and have sources, the
// newest first.
func (g *garbage) newer(id tree.ID) []tree.ID {
	list := g.usable[id.Name]
	if i := slices.IndexFunc(list, func(u tree.ID) bool { return version.Compare(u.Version, id.Version) <= 0 }); i >= 0 {
		list = list[:i]
	}
	return list
}

// owned tells whether the sources of a version belong to a package.
func (g *garbage) owned(ctx context.Context, id tree.ID) bool {
	command := machine.OwnerCommand(g.m.Distribution, filepath.Join(g.m.Tree.Sources(id), "dkms.conf"))
	argv := strings.Fields(command)
	if len(argv) == 0 || !g.m.Run.Has(argv[0]) || g.m.Run.Run(ctx, system.Cmd{Argv: argv}) != nil {
		return false
	}
	g.m.Report.Progressf("%s stays: its sources belong to a package (%s)", id, command)
	return true
}

// records lists the kernels that are gone and have records of failed builds, or
// previous builds.
func (g *garbage) records() (list []tree.Target) {
	for _, t := range g.m.Tree.KeptTargets() {
		if g.gone(t) != "" {
			list = append(list, t)
		}
	}
	for _, v := range g.versions {
		for _, t := range g.m.Tree.Failures(v.ID) {
			if g.gone(t) != "" && !slices.Contains(list, t) {
				list = append(list, t)
			}
		}
	}
	return list
}
