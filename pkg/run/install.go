package run

import (
	"context"
	"slices"

	"dkms/pkg/exit"
	"dkms/pkg/install"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/tree"
)

// Build builds a version for some kernels. It adds the version first if the
// version is not registered.
func Build(ctx context.Context, m *machine.Machine, n Named, choice machine.Choice, o Options) (exit.Code, error) {
	return buildOrInstall(ctx, m, "build", n, choice, o, job{}, plan.ForBuild)
}

// Install installs a version for some kernels. It builds the version first if
// there is no valid build.
func Install(ctx context.Context, m *machine.Machine, n Named, choice machine.Choice, o Options) (exit.Code, error) {
	return buildOrInstall(ctx, m, "install", n, choice, o, job{source: prebuiltSource(m, o, true), command: true}, plan.ForInstall)
}

func buildOrInstall(ctx context.Context, m *machine.Machine, name string, n Named, choice machine.Choice, o Options, j job,
	planFor func([]plan.Subject, plan.Options) *plan.Plan) (code exit.Code, err error) {
	err = transact(ctx, m, name, o, func(w *machine.Writer) error {
		v := &verb{m, w, name, choice, o}
		b, err := v.bring(ctx, n)
		if err != nil {
			return err
		}
		targets, err := m.Targets(choice, m.Discover)
		if err != nil {
			return err
		}
		switch m.Tree.State(b.ID) {
		case tree.Broken:
			return m.Broken(b.ID)
		case tree.Absent, tree.Restored:
			if b.announced {
				break
			}
			if err := v.registerFor(ctx, b, n.Conf); err != nil {
				return err
			}
		}
		subjects, err := v.subjects(b, targets)
		if err != nil {
			return err
		}
		j.plan = planFor(subjects, plan.Options{Force: o.Force})
		code, err = named(ctx, m, w, o, j)
		return err
	})
	return code, err
}

// subjects are the states of a version for some kernels. If an existing
// installation does not count, subjects warns of that.
func (v *verb) subjects(b brought, targets []tree.Target) ([]plan.Subject, error) {
	facts, err := v.Facts()
	if err != nil {
		return nil, err
	}
	list := facts.Subjects(b.ID, targets)
	if v.Force || v.name == "build" {
		list = facts.Forced(list)
	}
	for i, s := range list {
		switch h := facts.Module(machine.Subject{ID: s.ID, Target: s.Target}).Build(); {
		case slices.Contains(b.loaded, s.Target):
			list[i].Built, list[i].Stale = true, ""
		case b.replaced && v.w == nil: // a dry run has not replaced them
			list[i].Stale, list[i].Unsound = "its sources are to be replaced", "its sources are to be replaced"
		case v.name == "install" && (h.Reason == install.Lost || h.Reason == install.Changed):
			// DKMS refuses a build that has lost a module, and whoever has changed
			// a module by hand decides: the step refuses it, too, without --force.
			list[i].Stale = ""
		case s.Unsound != "" && s.Unsound != s.Stale && v.name != "build": // the build step says why it builds again
			v.Report.Warnf("%s: %s; it is installed again", s.ID, s.Unsound)
		}
	}
	return list, nil
}
