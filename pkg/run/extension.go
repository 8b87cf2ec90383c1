package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"dkms/pkg/exit"
	"dkms/pkg/fleet"
	"dkms/pkg/install"
	"dkms/pkg/machine"
	"dkms/pkg/tree"
)

// extend installs a build by an extension of the system. The extension is made
// anew with everything that it has had, which also suits it to a system that was
// upgraded since.
func (x *executor) extend(ctx context.Context, set *install.Set, sub machine.Subject) error {
	if err := x.w.Installer.Ready(set); err != nil {
		return err
	}
	return x.change(ctx, sub, func(ids []tree.ID) []tree.ID {
		return append(slices.DeleteFunc(ids, func(id tree.ID) bool { return id.Name == sub.Name }), sub.ID)
	})
}

// withdraw takes a version out of the extension. What the system itself came
// with stays.
func (x *executor) withdraw(ctx context.Context, sub machine.Subject) error {
	if !slices.Contains(fleet.NewExtension(x.w.Machine, sub.Target).Builds(), sub.ID) {
		return x.abandon(sub)
	}
	err := x.change(ctx, sub, func(ids []tree.ID) []tree.ID {
		return slices.DeleteFunc(ids, func(id tree.ID) bool { return id == sub.ID })
	})
	if err != nil {
		return err
	}
	return x.abandon(sub)
}

// abandon records that a version is not installed, unless its files are there
// all the same.
func (x *executor) abandon(sub machine.Subject) error {
	m, err := x.w.Tree.Manifest(sub.ID, sub.Target)
	if err != nil {
		return err
	}
	if m != nil {
		for _, f := range m.Installed {
			if _, err := os.Lstat(f.Path); err == nil {
				return machine.ReadOnly(x.w.Machine, sub)
			}
		}
	}
	return x.w.Installer.Abandon(sub.Name, sub.Target)
}

// change makes the extension of other builds, has systemd merge it, and records
// what is installed by it. If that fails, the extension becomes what it was.
func (x *executor) change(ctx context.Context, sub machine.Subject, of func([]tree.ID) []tree.ID) error {
	extension := fleet.NewExtension(x.w.Machine, sub.Target)
	before := extension.Builds()
	err := x.merge(ctx, extension, sub.Target, x.whole(of(slices.Clone(before)), sub))
	if err == nil {
		return nil
	}
	if undo := x.merge(context.WithoutCancel(ctx), extension, sub.Target, x.whole(before, sub)); undo != nil {
		x.w.Report.Warnf("%s is not what it was: %v", extension.Path(), undo)
	}
	return fmt.Errorf("%s: %w", sub.ID, err)
}

// whole leaves out other builds that are gone or damaged: they do not keep a
// version from being installed.
func (x *executor) whole(ids []tree.ID, sub machine.Subject) []tree.ID {
	facts, err := x.w.Facts()
	return slices.DeleteFunc(ids, func(id tree.ID) bool {
		if id == sub.ID || err != nil {
			return false
		}
		h := facts.Module(machine.Subject{ID: id, Target: sub.Target}).Build()
		if h.State != machine.Missing && h.State != machine.Damaged {
			return false
		}
		x.w.Report.Warnf("%s: left out of the extension for %s: its build is %s", id, sub.Target, h.State)
		return true
	})
}

func (x *executor) merge(ctx context.Context, extension fleet.Extension, t tree.Target, ids []tree.ID) error {
	places, err := extension.Write(ctx, ids)
	if err != nil {
		return err
	}
	if err := extension.Merge(ctx); err != nil {
		return err
	}
	for _, file := range slices.Concat(slices.Collect(maps.Values(places))...) {
		if _, err := os.Lstat(file); errors.Is(err, os.ErrNotExist) {
			return exit.Errorf(exit.InstallFailed, "systemd-sysext has not merged %s", extension.Path()).
				WithHint("SYSTEMD_LOG_LEVEL=debug systemd-sysext refresh says why")
		}
	}
	for _, id := range ids {
		if err := x.w.Installer.Adopt(id, t, places[id]); err != nil {
			return err
		}
	}
	return nil
}
