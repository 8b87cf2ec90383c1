package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Add registers a module version.
func Add(ctx context.Context, m *machine.Machine, n Named, choice machine.Choice, o Options) error {
	return transact(ctx, m, "add", o, func(w *machine.Writer) error {
		v := &verb{m, w, "add", choice, o}
		b, err := v.bring(ctx, n)
		if err != nil || b.announced || b.replaced && n.Replace {
			return err
		}
		return v.register(ctx, b, n.Conf)
	})
}

// register registers a version whose sources are on this machine.
func (v *verb) register(ctx context.Context, b brought, confFile string) error {
	id := b.ID
	// The mark is needed even if the version is already added: a new release of
	// a package may bring the same version, which must stay when the old
	// release goes.
	if v.SafeUpgrade && v.w != nil {
		if err := markUpgrade(v.Machine, id); err != nil {
			v.Report.Warnf("%s: --rpm_safe_upgrade has no effect: %v", id, err)
		}
	}
	if v.Tree.State(id) == tree.Added {
		return exit.Errorf(exit.AlreadyAdded, "%s is already added", id).WithHint("dkms install %s builds and installs it", id)
	}
	if !system.IsDir(b.sources) {
		err := exit.Errorf(exit.NoSource, "%s: there is no source directory %s", id, b.sources)
		if near := v.Nearest(id.String()); near != "" && near != id.String() {
			return err.WithHint("%s", v.again(near))
		}
		return err.WithHint("put its sources there, or name their directory: dkms add DIRECTORY")
	}
	sub, c, err := v.registrable(ctx, b, confFile)
	if err != nil {
		return err
	}
	if v.w == nil {
		would(v.Machine, "add %s from %s: not registered", id, v.Tree.Sources(id))
		return nil
	}
	if err := v.w.Tree.Add(id, b.sources); err != nil {
		return err
	}
	v.w.Did("add", id, tree.Target{}, nil)
	v.Report.Emit(report.Event{Kind: report.Done, Module: id.String(), Step: "add", Text: fmt.Sprintf("%s: added from %s", id, b.sources)})
	return v.postAdd(ctx, sub, c)
}

// registrable reads the dkms.conf of a version before it is registered.
func (v *verb) registrable(ctx context.Context, b brought, confFile string) (machine.Subject, *conf.Module, error) {
	target, err := v.AnyTarget(v.choice)
	sub := machine.Subject{ID: b.ID, Target: target}
	if err != nil {
		return sub, nil, err
	}
	file := filepath.Join(b.sources, "dkms.conf")
	if confFile != "" {
		file = v.Host.Abs(confFile)
	}
	c, err := v.Conf(ctx, sub, file)
	if err != nil {
		return sub, nil, fmt.Errorf("%s: %w", b.ID, err)
	}
	if err := c.CheckStrict(); err != nil {
		return sub, nil, err
	}
	for _, w := range v.FreshWarnings(c) {
		v.Report.Warnf("%s", w)
	}
	return sub, c, nil
}

// postAdd runs POST_ADD. If POST_ADD fails, the version stays added, and the
// exit status of the hook becomes that of the command.
func (v *verb) postAdd(ctx context.Context, sub machine.Subject, c *conf.Module) error {
	err := runScript(ctx, v.Machine, sub.ID, "POST_ADD", c.PostAdd, scriptEnv(sub))
	if err == nil {
		return nil
	}
	code := exit.Usage
	if e, ok := errors.AsType[*system.ExitError](err); ok && e.Status > 0 {
		code = exit.Code(e.Status)
	}
	return exit.Errorf(code, "%s: added, but POST_ADD failed: %w", sub.ID, err)
}

// registerFor adds a version that another command needs; a failure of POST_ADD
// does not stop that command.
func (v *verb) registerFor(ctx context.Context, b brought, confFile string) error {
	err := v.register(ctx, b, confFile)
	if err != nil && v.Tree.State(b.ID) == tree.Added {
		v.Report.Warnf("%v", err)
		return nil
	}
	return err
}
