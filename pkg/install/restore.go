package install

import (
	"context"
	"fmt"
	"path/filepath"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/report"
	"dkms/pkg/tree"
)

// Placed is an installed file as a record of history describes it.
type Placed struct {
	// Path is absolute, and SHA256 is the digest of the file.
	Path, SHA256 string
}

// Restore installs the build of a version in the tree again, exactly as it was:
// the files with these digests at these paths. Neither the sources nor their
// dkms.conf are needed. The rest is as with [Installer.Install].
func (in *Installer) Restore(ctx context.Context, id tree.ID, k *kernel.Kernel, files []Placed) error {
	if err := in.finishInterrupted(); err != nil {
		return err
	}
	s := &Set{ID: id, Kernel: k}
	parts, err := in.restored(s, files)
	if err != nil {
		return err
	}
	return in.put(ctx, s, parts, in.present(ctx, k, parts))
}

// restored are the files of a build that are to be installed again.
func (in *Installer) restored(s *Set, files []Placed) ([]part, error) {
	var list []part
	for _, f := range files {
		name, _, ok := module.ParseSuffix(filepath.Base(f.Path))
		if !ok || !moduleIn(s.Kernel.ModuleDir(), f.Path) {
			return nil, exit.Errorf(exit.InstallFailed, "%s: %s is no module of kernel %s", s.ID, f.Path, s.Kernel.Release)
		}
		dir := in.Tree.Modules(s.ID, s.target())
		if err := Holds(dir, f); err != nil {
			return nil, exit.Errorf(exit.NotBuilt, "%s: %w", s.ID, err)
		}
		list = append(list, part{conf.Record{DestName: name}, filepath.Join(dir, filepath.Base(f.Path)), f.Path})
	}
	return list, nil
}

// Holds checks that the directory of the modules of a build has a file that was
// installed.
func Holds(dir string, f Placed) error {
	built := filepath.Join(dir, filepath.Base(f.Path))
	if sum, err := digestBuilt(built); err != nil || sum != f.SHA256 {
		return fmt.Errorf("%s is not the module that was installed as %s", built, f.Path)
	}
	return nil
}

// put makes parts of a build the installed files of a package, in one
// transaction. present are the modules that the kernel has.
func (in *Installer) put(ctx context.Context, s *Set, parts []part, present files) error {
	t := newTransaction(in.Tree, s.ID, s.target(), s.ID.Version)
	if err := in.stage(s, t, parts, present); err != nil {
		return exit.Errorf(exit.InstallFailed, "%s: %w", s.ID, err)
	}
	if err := t.commit(ctx, func() error { return in.Tree.Activate(s.ID, s.target()) }); err != nil {
		return exit.Errorf(exit.InstallFailed, "%s: %w", s.ID, err)
	}
	for _, p := range parts {
		in.Report.Emit(report.Event{Kind: report.Detail, Module: s.ID.String(), Kernel: s.Kernel.Release, Arch: s.Kernel.Arch,
			Step: "install", Text: "installed " + p.dest})
	}
	if err := in.record(t); err != nil {
		return err
	}
	return t.finish()
}
