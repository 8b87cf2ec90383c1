package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// archive notes which modules of the kernel the parts replace. These modules
// are archived once per package and kernel: while a version is active, the
// files in the kernel's directories are the package's own. Preference and
// layout are those of the original.
func (in *Installer) archive(s *Set, t *transaction, parts []part, present files) {
	if exists(in.Tree.ActiveLink(s.ID.Name, s.target())) {
		return // even if the link dangles: then an installation has lost its build
	}
	for _, p := range parts {
		file := original(s.Kernel.ModuleDir(), p, present)
		if file == "" {
			continue
		}
		to := filepath.Join(in.Tree.Originals(s.ID.Name, s.target()), filepath.Base(file))
		t.Moves = append(t.Moves, move{From: file, To: to})
		in.Report.Progressf("%s: keeping the original %s for the day this module is uninstalled", s.ID, file)
	}
}

// original is the file of the kernel that p replaces.
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

const (
	originSuffix = ".origin"
	// maxOrigin bounds the size of such a file, in bytes.
	maxOrigin = 8 << 10
)

// noteOrigin writes the original path of an archived file. The note is written
// first, because an archived file without it cannot be put back.
func noteOrigin(file, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return system.WriteFile(to+originSuffix, []byte(file+"\n"), 0o644)
}

// moveFile renames a file. If the target is on another file system, moveFile
// copies the file, and deletes it after the copy is durable.
func moveFile(ctx context.Context, from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	staged, err := system.StageFile(ctx, to, from, 0o644)
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

// restore notes the archived originals of a package that are to be put back. An
// original that cannot be put back stays in the archive, with a warning.
func (in *Installer) restore(t *transaction, moduleDir string, legacy func(name string) string) {
	filepath.WalkDir(in.Tree.Originals(t.ID.Name, t.Target), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, originSuffix) {
			return nil
		}
		to := in.origin(path, moduleDir, legacy)
		switch {
		case to == "":
			in.Report.Warnf("%s: %s is not put back: where it came from is not known", t.ID, path)
		case exists(to) && !t.changes(to):
			in.Report.Warnf("%s: %s is not put back: the kernel has %s again", t.ID, path, to)
		default:
			t.Moves = append(t.Moves, move{From: path, To: to})
		}
		return nil
	})
}

// forgetOrigins deletes the notes of originals that have been put back.
func (in *Installer) forgetOrigins(t *transaction) error {
	for _, m := range t.Moves {
		if err := removeFile(m.From + originSuffix); err != nil {
			return err
		}
		in.Report.Progressf("%s: restored the original %s", t.ID, m.To)
	}
	return nil
}

// origin is the path where an archived file belongs: the path in its note, if
// that is in the module directory of the kernel, or the path that legacy
// returns for archives that are older than these notes.
func (in *Installer) origin(path, moduleDir string, legacy func(name string) string) string {
	data, err := system.ReadRegular(path+originSuffix, maxOrigin)
	if err != nil {
		name, _, ok := module.ParseSuffix(filepath.Base(path))
		if !ok {
			return ""
		}
		if dir := orderedIn(moduleDir, name); dir != "" {
			return filepath.Join(dir, filepath.Base(path))
		}
		return legacy(name)
	}
	to := filepath.Clean(strings.TrimSpace(string(data)))
	if !moduleIn(moduleDir, to) || system.IsDir(to) {
		return ""
	}
	return to
}

// maxOrder bounds how many bytes of modules.order are read.
const maxOrder = 16 << 20

// DKMS before 3.1 does not note the path of an archived original. orderedIn is
// the directory of a module in the kernel's modules.order, which lists the
// kernel's own modules as they were built, without the suffix of a compression.
func orderedIn(moduleDir, name string) string {
	data, err := system.ReadRegular(filepath.Join(moduleDir, "modules.order"), maxOrder)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		path := filepath.Join(moduleDir, strings.TrimSpace(line))
		if base, _, ok := module.ParseSuffix(path); ok && base == name && moduleIn(moduleDir, path) {
			return filepath.Dir(path)
		}
	}
	return ""
}
