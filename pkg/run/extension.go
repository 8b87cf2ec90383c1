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

// extending installs and uninstalls a version by the extension of the system in
// which this machine has its modules for a kernel.
type extending struct {
	w *machine.Writer
	machine.Subject
}

// install installs a build. The extension is made anew with everything that it has
// had, which also suits it to a system that was upgraded since.
func (e extending) install(ctx context.Context, set *install.Set) error {
	if err := e.w.Installer.Ready(set); err != nil {
		return err
	}
	return e.change(ctx, func(ids []tree.ID) []tree.ID {
		return append(slices.DeleteFunc(ids, func(id tree.ID) bool { return id.Name == e.Name }), e.ID)
	})
}

// again makes the extension once more, of builds with another signature.
func (e extending) again(ctx context.Context) error {
	return e.change(ctx, func(ids []tree.ID) []tree.ID { return ids })
}

// withdraw takes a version out of the extension. What the system itself came
// with stays.
func (e extending) withdraw(ctx context.Context) error {
	if !slices.Contains(fleet.NewExtension(e.w.Machine, e.Target).Builds(), e.ID) {
		return e.abandon()
	}
	err := e.change(ctx, func(ids []tree.ID) []tree.ID {
		return slices.DeleteFunc(ids, func(id tree.ID) bool { return id == e.ID })
	})
	if err != nil {
		return err
	}
	return e.abandon()
}

// abandon records that a version is not installed, unless its files are there
// all the same.
func (e extending) abandon() error {
	m, err := e.w.Tree.Manifest(e.ID, e.Target)
	if err != nil {
		return err
	}
	if m != nil {
		for _, f := range m.Installed {
			if _, err := os.Lstat(f.Path); err == nil {
				return machine.ReadOnly(e.w.Machine, e.Subject)
			}
		}
	}
	return e.w.Installer.Abandon(e.Name, e.Target)
}

// change makes the extension of other builds, has systemd merge it, and records
// what is installed by it. If that fails, the extension becomes what it was.
func (e extending) change(ctx context.Context, of func([]tree.ID) []tree.ID) error {
	extension := fleet.NewExtension(e.w.Machine, e.Target)
	before := extension.Builds()
	err := e.merge(ctx, extension, e.whole(of(slices.Clone(before))))
	if err == nil {
		return nil
	}
	if undo := e.merge(context.WithoutCancel(ctx), extension, e.whole(before)); undo != nil {
		e.w.Report.Warnf("%s is not what it was: %v", extension.Path(), undo)
	}
	return fmt.Errorf("%s: %w", e.ID, err)
}

// whole leaves out other builds that are gone or damaged: they do not keep a
// version from being installed.
func (e extending) whole(ids []tree.ID) []tree.ID {
	facts, err := e.w.Facts()
	return slices.DeleteFunc(ids, func(id tree.ID) bool {
		if id == e.ID || err != nil {
			return false
		}
		h := facts.Module(machine.Subject{ID: id, Target: e.Target}).Build()
		if h.State != machine.Missing && h.State != machine.Damaged {
			return false
		}
		e.w.Report.Warnf("%s: left out of the extension for %s: its build is %s", id, e.Target, h.State)
		return true
	})
}

func (e extending) merge(ctx context.Context, extension fleet.Extension, ids []tree.ID) error {
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
		if err := e.w.Installer.Adopt(id, e.Target, places[id]); err != nil {
			return err
		}
	}
	return nil
}
