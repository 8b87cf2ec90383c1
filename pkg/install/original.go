package install

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// moved is a module of the kernel that was put aside.
type moved struct{ from, to string }

// archive puts aside the modules of the kernel that the parts replace, once
// per package and kernel: as long as a version is active, what lies in the
// kernel's directories is its own. Preference and layout are the original's.
func (in *Installer) archive(s *Set, parts []part, present files) ([]moved, error) {
	if in.Tree.Active(s.ID.Name, s.target()) != "" {
		return nil, nil
	}
	if _, err := os.Lstat(in.Tree.ActiveLink(s.ID.Name, s.target())); err == nil {
		return nil, nil // dangling: an installation that lost its build
	}
	var list []moved
	for _, p := range parts {
		file := original(s.Kernel.ModuleDir(), p, present)
		if file == "" {
			continue
		}
		to := filepath.Join(in.Tree.Originals(s.ID.Name, s.target()), filepath.Base(file))
		if err := putAside(file, to); err != nil {
			return nil, joinRestore(err, list)
		}
		list = append(list, moved{file, to})
		in.Report.Progressf("%s: kept the original %s for the day this module is uninstalled", s.ID, file)
	}
	return list, nil
}

// original is the file of the kernel that p displaces.
func original(dir string, p part, present files) string {
	for _, d := range []string{filepath.Join(dir, "extra"), filepath.Join(dir, "updates"), filepath.Dir(p.dest)} {
		if file := FindModule(d, p.record.DestName); file != "" {
			return file
		}
	}
	if found := present[p.record.DestName]; len(found) > 0 {
		return found[0]
	}
	return ""
}

const originSuffix = ".origin"

// putAside moves a file into the archive. Where it came from is written
// first: an archived file without that cannot be put back.
func putAside(file, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := system.WriteFile(to+originSuffix, []byte(file+"\n"), 0o644); err != nil {
		return err
	}
	return moveFile(file, to)
}

// moveFile renames a file, or copies it to another file system and deletes it
// after the copy is durable.
func moveFile(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	staged, err := system.StageFile(to, from, 0o644)
	if err != nil {
		return err
	}
	if err := os.Rename(staged, to); err != nil {
		return err
	}
	if err := system.SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return os.Remove(from)
}

// joinRestore puts archived files back because of err.
func joinRestore(err error, list []moved) error {
	for _, m := range list {
		if backErr := moveFile(m.to, m.from); backErr != nil {
			err = errors.Join(err, backErr)
			continue
		}
		os.Remove(m.to + originSuffix)
	}
	return err
}

// restore puts back the originals that a package displaced. What cannot be
// put back stays in the archive, with a warning.
func (in *Installer) restore(id tree.ID, k tree.Target, moduleDir string, legacy func(name string) string) {
	archive := in.Tree.Originals(id.Name, k)
	filepath.WalkDir(archive, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, originSuffix) {
			return nil
		}
		to := in.origin(path, moduleDir, legacy)
		if to == "" {
			in.Report.Warnf("%s: %s is not put back: where it came from is not known", id, path)
			return nil
		}
		if err := in.putBack(path, to); err != nil {
			in.Report.Warnf("%s: %s is not put back: %v", id, path, err)
			return nil
		}
		in.Report.Progressf("%s: restored the original %s", id, to)
		return nil
	})
	system.RemoveEmptyDirs(archive, in.Tree.ModuleDir(id.Name))
}

// origin is where an archived file belongs: what is written beside it, if
// that lies in the module directory of the kernel, or what legacy says of
// archives from before that was written down.
func (in *Installer) origin(path, moduleDir string, legacy func(name string) string) string {
	data, err := os.ReadFile(path + originSuffix)
	if err != nil {
		if name, _, ok := module.ParseSuffix(filepath.Base(path)); ok {
			return legacy(name)
		}
		return ""
	}
	to := strings.TrimSpace(string(data))
	rel, err := filepath.Rel(moduleDir, to)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return ""
	}
	return to
}

func (in *Installer) putBack(path, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := moveFile(path, to); err != nil {
		return err
	}
	if err := os.Remove(path + originSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
