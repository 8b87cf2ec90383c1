package run

import (
	"cmp"
	"context"
	"slices"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Uninstall uninstalls a version from some kernels; with all, from every kernel
// that the version is built for.
func Uninstall(ctx context.Context, m *machine.Machine, id tree.ID, choice machine.Choice, all bool, o Options) (exit.Code, error) {
	return takeOut(ctx, m, "uninstall", id, choice, all, o, func(s []plan.Subject, _ bool) *plan.Plan { return plan.ForUninstall(s) })
}

// Unbuild uninstalls a version and deletes its builds.
func Unbuild(ctx context.Context, m *machine.Machine, id tree.ID, choice machine.Choice, all bool, o Options) (exit.Code, error) {
	return takeOut(ctx, m, "unbuild", id, choice, all, o, func(s []plan.Subject, _ bool) *plan.Plan { return plan.ForUnbuild(s) })
}

// Remove unbuilds a version and forgets it once no build is left. Where id has
// no version and several are registered, it asks which, if somebody is there to
// answer.
func Remove(ctx context.Context, m *machine.Machine, id tree.ID, choice machine.Choice, all bool, o Options, ask Person) (exit.Code, error) {
	ids, err := toRemove(ctx, m, id, o, ask)
	if err != nil {
		return 0, err
	}
	status := exit.OK
	for _, id := range ids {
		code, err := takeOut(ctx, m, "remove", id, choice, all, o, func(s []plan.Subject, others bool) *plan.Plan {
			return plan.ForRemove(id, s, others)
		})
		if err != nil {
			return 0, err
		}
		status = cmp.Or(status, code)
	}
	return status, nil
}

// toRemove returns the versions to remove. It asks before anything is locked, and
// only somebody who may remove them; scripts of packages are never asked.
func toRemove(ctx context.Context, m *machine.Machine, id tree.ID, o Options, ask Person) ([]tree.ID, error) {
	if id.Version != "" || o.SafeUpgrade || !ask.present() || m.Host.UID != 0 && !o.DryRun {
		return []tree.ID{id}, nil
	}
	list, err := registered(m, id.Name)
	if err != nil || len(list) < 2 {
		return []tree.ID{id}, err
	}
	return ask.versions(ctx, list)
}

func takeOut(ctx context.Context, m *machine.Machine, name string, id tree.ID, choice machine.Choice, all bool, o Options,
	planFor func(s []plan.Subject, others bool) *plan.Plan) (code exit.Code, err error) {
	v := &verb{m, nil, name, choice, o}
	if id, err = v.id(Named{Name: id.Name, Version: id.Version}); err != nil {
		return 0, err
	}
	err = transact(ctx, m, name, o, func(w *machine.Writer) error {
		// A version can be removed even if its sources are lost; the original
		// gives no way to do that.
		if !system.IsDir(m.Tree.VersionDir(id)) {
			return m.NotRegistered(id.String())
		}
		if name == "remove" && o.SafeUpgrade && upgrading(m, id, o.DryRun) {
			m.Report.Warnf("%s: not removed: the running transaction has just added it (--rpm_safe_upgrade)", id)
			return nil
		}
		built, err := buildsOf(m.Tree, id)
		if err != nil {
			return err
		}
		targets := built
		if !all {
			if targets, err = m.Targets(choice, m.Running); err != nil {
				return err
			}
		}
		others := slices.ContainsFunc(built, func(t tree.Target) bool { return !slices.Contains(targets, t) })
		var subjects []plan.Subject
		for _, t := range targets {
			subjects = append(subjects, inTree(m.Tree, id, t))
		}
		code, err = named(ctx, m, w, o, job{plan: planFor(subjects, others), command: true})
		return err
	})
	return code, err
}

// takeOutTargets are the kernels that a version is removed from.
func takeOutTargets(m *machine.Machine, id tree.ID, choice machine.Choice, all bool) ([]tree.Target, error) {
	if all {
		return buildsOf(m.Tree, id)
	}
	return m.Targets(choice, m.Running)
}

// buildsOf lists the kernels that a version is built for.
func buildsOf(t *tree.Tree, id tree.ID) ([]tree.Target, error) {
	var list []tree.Target
	versions, err := t.Versions(id.Name)
	for _, v := range versions {
		if v.ID != id {
			continue
		}
		for _, b := range v.Builds {
			list = append(list, b.Target)
		}
	}
	return list, err
}

// inTree is what the tree holds of a version, without a check of its health:
// removal needs no more.
func inTree(t *tree.Tree, id tree.ID, k tree.Target) plan.Subject {
	return plan.Subject{ID: id, Target: k, Built: t.IsBuilt(id, k), Installed: t.IsInstalled(id, k)}
}
