package run

import (
	"context"
	"fmt"
	"path/filepath"

	"dkms/pkg/exit"
	"dkms/pkg/install"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// backTo is an installation to be restored.
type backTo struct {
	files []install.Placed
	// kept is the directory of the previous build, or empty if the build is in
	// the tree.
	kept string
}

// restoring carries out the steps that bring back previous builds.
type restoring struct{ *executor }

// restore installs the build of a subject that was installed before.
func (x restoring) restore(ctx context.Context, sub machine.Subject) (changed bool, err error) {
	b := x.back[sub]
	extended, err := machine.AsExtension(x.w.Machine, sub)
	if err == nil && extended {
		err = exit.Errorf(exit.InstallFailed, "%s: an undo brings back files of the kernel's directory, and this machine has an extension instead", sub.ID).
			WithHint("dkms install %s -k %s", sub.ID, x.w.KernelArg(sub.Target))
	}
	if err != nil {
		return false, err
	}
	if err := x.w.Touch(sub); err != nil {
		return false, err
	}
	if err := x.known(sub.ID); err != nil {
		return false, err
	}
	if b.kept != "" {
		if err := x.w.Tree.Reinstate(ctx, b.kept, sub.ID, sub.Target); err != nil {
			return false, fmt.Errorf("%s: %w", sub.ID, err)
		}
	}
	if err := x.w.Installer.Restore(ctx, sub.ID, x.w.Kernel(sub.Target), b.files); err != nil {
		return false, err
	}
	x.installed = append(x.installed, sub)
	x.weak(ctx, sub, true)
	x.after(ctx, sub)
	return true, nil
}

// known registers a version whose sources are there again, and otherwise has the
// tree list it without sources.
func (x restoring) known(id tree.ID) error {
	sources := x.w.Tree.Sources(id)
	if x.w.Tree.State(id) != tree.Added && system.IsFile(filepath.Join(sources, "dkms.conf")) {
		return x.w.Tree.Add(id, sources)
	}
	return x.w.Tree.MarkRestored(id)
}

// after runs the POST_INSTALL of a version whose sources are there.
func (x restoring) after(ctx context.Context, sub machine.Subject) {
	if x.w.Tree.State(sub.ID) != tree.Added {
		x.w.Report.Detailf("%s: no POST_INSTALL is run, since its sources are not there", sub.ID)
		return
	}
	c, err := x.w.Conf(ctx, sub, x.w.ConfFile(sub))
	if err == nil {
		err = runScript(ctx, x.w.Machine, sub.ID, "POST_INSTALL", c.PostInstall, scriptEnv(sub))
	}
	if err != nil && ctx.Err() == nil {
		x.w.Report.Warnf("%s: %v; the module is installed all the same", sub.ID, err)
	}
}

// dropRestored takes out a version that an undo had brought back, when another
// version takes its place: nobody else would.
func dropRestored(w *machine.Writer, before string, sub machine.Subject) error {
	id := tree.ID{Name: sub.Name, Version: before}
	if before == "" || before == sub.Version || w.Tree.State(id) != tree.Restored {
		return nil
	}
	if err := w.Tree.DropBuild(id, sub.Target); err != nil {
		return err
	}
	if left, err := buildsOf(w.Machine.Tree, id); err != nil || len(left) > 0 {
		return err
	}
	return w.Tree.Forget(id)
}
