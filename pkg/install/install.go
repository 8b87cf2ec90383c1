// Package install puts built modules into the install tree and takes them out
// again.
//
// It guarantees that the modules of a package change together. The new files
// are staged beside the old ones before the first rename. An error on the way
// restores the old files. The link that names the installed version changes
// only after its files. The next run finishes or undoes a change that a crash
// interrupted.
package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/index"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Installer holds what all installations of a run share.
type Installer struct {
	Tree   *tree.Writer
	Report *report.Reporter
	Run    *system.Runner
	// Now is the clock.
	Now func() time.Time
	// Dated, unless it is zero, is the time that installed files get.
	Dated time.Time
	// Distribution is the family of the system according to os-release, and ID
	// its own name.
	Distribution, ID string
	// Addon is ADDON_MODULES_DIR, which replaces every destination directory.
	Addon string
	// DepmodProgram says that only the depmod program writes module indexes.
	DepmodProgram bool
	// Symlink installs links into the dkms tree instead of copies.
	Symlink bool

	ahead map[string]*index.Ahead // by release, see ReadIndex
}

// Set is one built module version to install for one kernel.
type Set struct {
	ID     tree.ID
	Kernel *kernel.Kernel
	// Conf is the configuration of the version, and Records are its records
	// that are meant for the kernel.
	Conf    *conf.Module
	Records []conf.Record
	// Force installs over any module; ForceVersion ignores only versions.
	Force, ForceVersion bool
}

func (s *Set) target() tree.Target {
	return tree.Target{Kernel: s.Kernel.Release, Arch: s.Kernel.Arch}
}

// part is one module file to be installed.
type part struct {
	record conf.Record
	built  string // the file in the dkms tree
	dest   string // the path to install it at
}

// Check returns the error that prevents the installation of s, before anything
// is changed: the kernel's module directory or a built file is missing.
func (in *Installer) Check(s *Set) error {
	if !system.IsDir(s.Kernel.ModuleDir()) {
		return exit.Errorf(exit.InstallFailed, "%s: %s does not exist", s.ID, s.Kernel.ModuleDir()).
			WithHint("install the kernel %s first", s.Kernel.Release)
	}
	_, err := in.parts(s)
	return err
}

func (in *Installer) parts(s *Set) ([]part, error) {
	dir := in.Tree.Modules(s.ID, s.target())
	var list []part
	for _, r := range s.Records {
		file := FindModule(dir, r.DestName)
		if file == "" && r.Optional {
			continue
		}
		if file == "" {
			return nil, exit.Errorf(exit.NotBuilt, "%s: %s.ko is missing in %s", s.ID, r.DestName, dir).
				WithHint("build it again: dkms build --force %s -k %s", s.ID, s.Kernel.Release)
		}
		if st, err := os.Lstat(file); err != nil || !st.Mode().IsRegular() {
			return nil, exit.Errorf(exit.NotBuilt, "%s: %s is a link, and not a module that was built", s.ID, file).
				WithHint("build it again: dkms build --force %s -k %s", s.ID, s.Kernel.Release)
		}
		location := filepath.Clean("/" + r.Destination(in.Distribution, in.Addon))
		list = append(list, part{r, file, filepath.Join(s.Kernel.ModuleDir(), location, filepath.Base(file))})
	}
	return list, nil
}

// FindModule is the file of a module in dir, with any suffix; plain .ko has
// precedence, as in the original.
func FindModule(dir, name string) string {
	for _, c := range []module.Compression{module.None, module.Gzip, module.XZ, module.Zstd} {
		if file := filepath.Join(dir, name+".ko"+c.Suffix()); system.IsFile(file) {
			return file
		}
	}
	return ""
}

// Install installs s. The caller runs PRE_INSTALL before, and POST_INSTALL and
// depmod afterwards.
func (in *Installer) Install(ctx context.Context, s *Set) error {
	if err := in.finishInterrupted(); err != nil {
		return err
	}
	parts, err := in.parts(s)
	if err != nil {
		return err
	}
	present := in.present(ctx, s.Kernel, parts)
	if parts, err = in.acceptable(s, parts, present); err != nil {
		return err
	}
	if err := in.manifest(s); err != nil {
		return err
	}
	return in.put(ctx, s, parts, present)
}

// Refresh replaces the installed files of a version by its built files, if the
// installed files come from earlier builds of the same modules. Refresh may
// return an error although files have changed: the next run then does the rest.
func (in *Installer) Refresh(id tree.ID, k tree.Target) (changed bool, err error) {
	if err := in.finishInterrupted(); err != nil {
		return false, err
	}
	m, err := in.Tree.Manifest(id, k)
	if err != nil || m == nil || len(m.Installed) == 0 {
		return false, err
	}
	t := newTransaction(in.Tree, id, k, id.Version)
	for _, f := range m.Installed {
		if f.Link {
			continue
		}
		if err := t.put(f.Path, filepath.Join(in.Tree.Modules(id, k), filepath.Base(f.Path))); err != nil {
			return false, exit.Errorf(exit.InstallFailed, "%s: %w", id, err)
		}
	}
	if err := t.commit(context.Background(), func() error { return nil }); err != nil {
		return t.committed(), exit.Errorf(exit.InstallFailed, "%s: %w", id, err)
	}
	if err := in.record(t); err != nil {
		return true, err
	}
	return true, t.finish()
}

// stage notes the destination of the parts of s, the originals to be archived,
// and the files of an earlier installation to be deleted.
func (in *Installer) stage(s *Set, t *transaction, parts []part, present files) error {
	in.archive(s, t, parts, present)
	for _, p := range parts {
		if in.Symlink {
			t.link(p.dest, p.built)
		} else if err := t.put(p.dest, p.built); err != nil {
			return err
		}
	}
	for _, old := range in.outdated(s, parts) {
		t.remove(old)
	}
	return nil
}

// acceptable leaves out parts that are older than, or the same as, the modules
// that the kernel already has. If no part is left, acceptable returns an error.
func (in *Installer) acceptable(s *Set, parts []part, present files) ([]part, error) {
	var kept []part
	var refused []string
	for _, p := range parts {
		if why := in.refuse(s, p, present); why != "" {
			refused = append(refused, why)
			continue
		}
		kept = append(kept, p)
	}
	if len(parts) > 0 && len(kept) == 0 {
		return nil, exit.Errorf(exit.InstallFailed, "%s: not installed: %s", s.ID, strings.Join(refused, "\n  ")).
			WithHint("dkms install --force %s -k %s installs it all the same", s.ID, s.Kernel.Release)
	}
	for _, why := range refused {
		in.Report.Warnf("%s: not everything is installed: %s", s.ID, why)
	}
	return kept, nil
}

// outdated lists files of the package's active version, and files of s itself
// with another suffix, that the parts do not overwrite. If these files stayed,
// they would shadow or duplicate the new ones.
func (in *Installer) outdated(s *Set, parts []part) []string {
	var list []string
	active := in.Tree.Active(s.ID.Name, s.target())
	if active == "" {
		return nil
	}
	if m, _ := in.Tree.Manifest(tree.ID{Name: s.ID.Name, Version: active}, s.target()); m != nil {
		for _, f := range m.Installed {
			list = append(list, f.Path)
		}
	}
	for _, p := range parts {
		for _, c := range []module.Compression{module.None, module.Gzip, module.XZ, module.Zstd} {
			list = append(list, filepath.Join(filepath.Dir(p.dest), p.record.DestName+".ko"+c.Suffix()))
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	return slices.DeleteFunc(list, func(path string) bool {
		if _, err := os.Lstat(path); err != nil {
			return true
		}
		return slices.ContainsFunc(parts, func(p part) bool { return p.dest == path })
	})
}

// describe returns the manifest entry of an installed file.
func describe(path string) (tree.Installed, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return tree.Installed{}, err
	}
	sum, err := digest(path)
	if err != nil {
		return tree.Installed{}, err
	}
	return tree.Installed{
		Path: path, SHA256: sum, Size: st.Size(), ModTime: st.ModTime().UnixNano(),
		Link: !st.Mode().IsRegular(),
	}, nil
}

func digest(path string) (string, error) { return digestOf(system.OpenRegular(path)) }

// digestBuilt is the digest of a built file; a link is an error.
func digestBuilt(path string) (string, error) { return digestOf(system.OpenPlain(path)) }

func digestOf(f *os.File, _ fs.FileInfo, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// manifest makes sure that a build has a manifest that can record what is
// installed: a build of the original has none, and a damaged manifest is
// replaced.
func (in *Installer) manifest(s *Set) error {
	m, err := in.Tree.Manifest(s.ID, s.target())
	switch {
	case errors.Is(err, tree.ErrDamaged):
		in.Report.Warnf("%v; it is written anew", err)
	case err != nil:
		return err
	case m != nil:
		return in.verify(s, m)
	}
	m = &tree.Manifest{
		Module: s.ID.Name, Version: s.ID.Version, Kernel: s.Kernel.Release, Arch: s.Kernel.Arch,
		PostRemove: s.Conf.PostRemove, NoWeakModules: s.Conf.NoWeakModules,
	}
	if m.Files, err = in.builtFiles(s); err != nil {
		return err
	}
	return m.Save(in.Tree.BuildDir(s.ID, s.target()))
}

// verify compares the files of a build with the digests in its manifest. Files
// that somebody has changed since are installed only with force, and the
// manifest then records their new digests.
func (in *Installer) verify(s *Set, m *tree.Manifest) error {
	parts, err := in.parts(s)
	if err != nil {
		return err
	}
	changed := false
	for _, p := range parts {
		sum, err := digestBuilt(p.built)
		if err != nil {
			return exit.Errorf(exit.NotBuilt, "%s: %w", s.ID, err)
		}
		if m.Has(filepath.Base(p.built), sum) {
			continue
		}
		if !s.Force {
			return exit.Errorf(exit.NotBuilt, "%s: %s is not what was built: its digest is not that on record", s.ID, p.built).
				WithHint("dkms build --force %s -k %s builds it again; dkms install --force %[1]s -k %[2]s installs it as it is", s.ID, s.Kernel.Release)
		}
		in.Report.Warnf("%s: %s is not what was built; it is installed because of --force", s.ID, p.built)
		changed = true
	}
	if !changed {
		return nil
	}
	if m.Files, err = in.builtFiles(s); err != nil {
		return err
	}
	return m.Save(in.Tree.BuildDir(s.ID, s.target()))
}

func (in *Installer) builtFiles(s *Set) ([]tree.File, error) {
	parts, err := in.parts(s)
	if err != nil {
		return nil, err
	}
	var list []tree.File
	for _, p := range parts {
		sum, err := digestBuilt(p.built)
		if err != nil {
			return nil, err
		}
		st, err := os.Lstat(p.built)
		if err != nil {
			return nil, err
		}
		list = append(list, tree.File{Name: filepath.Base(p.built), Location: p.record.DestLocation, SHA256: sum, Size: st.Size()})
	}
	return list, nil
}
