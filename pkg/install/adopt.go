package install

import (
	"path/filepath"

	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

// Ready makes sure, as Install does, that s may be installed, for a caller that
// brings the modules into the kernel's directory by other means. That takes all
// modules or none.
func (in *Installer) Ready(s *Set) error {
	if err := in.finishInterrupted(); err != nil {
		return err
	}
	parts, err := in.parts(s)
	if err != nil {
		return err
	}
	kept, err := in.acceptable(s, parts, scan(s.Kernel.ModuleDir()))
	if err != nil {
		return err
	}
	if len(kept) < len(parts) {
		return exit.Errorf(exit.InstallFailed, "%s: not installed: an extension has all its modules or none", s.ID).
			WithHint("dkms install --force %s -k %s installs all of them", s.ID, s.Kernel.Release)
	}
	return in.manifest(s)
}

// Adopt records files in the directory of a kernel, which somebody else has put
// there, as the installed files of a build, and makes its version the active one.
// They have to be the modules of the build.
func (in *Installer) Adopt(id tree.ID, k tree.Target, paths []string) error {
	m, err := in.Tree.Manifest(id, k)
	if err == nil && m == nil {
		err = exit.Errorf(exit.NotBuilt, "%s: its build for %s has no manifest", id, k)
	}
	if err != nil {
		return err
	}
	var installed []tree.Installed
	for _, path := range paths {
		file, err := describe(path)
		if err != nil {
			return exit.Errorf(exit.InstallFailed, "%s: %w", id, err)
		}
		if !m.Has(filepath.Base(path), file.SHA256) {
			return exit.Errorf(exit.InstallFailed, "%s: %s is not the module that was built", id, path)
		}
		installed = append(installed, file)
	}
	m.Installed, m.Used = installed, in.Now().UTC()
	if err := m.Save(in.Tree.BuildDir(id, k)); err != nil {
		return err
	}
	if err := in.Tree.Activate(id, k); err != nil {
		return err
	}
	return in.only(id.Name, id.Version, k)
}

// Abandon records that nothing of a package is installed for a target any more.
func (in *Installer) Abandon(name string, k tree.Target) error {
	if err := in.Tree.Deactivate(name, k); err != nil {
		return err
	}
	return in.only(name, "", k)
}
