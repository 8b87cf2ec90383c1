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

// archive notes which modules of the kernel the parts replace, to be put aside
// once per package and kernel: as long as a version is active, what lies in
// the kernel's directories is its own. Preference and layout are the
// original's.
func (in *Installer) archive(s *Set, t *transaction, parts []part, present files) {
	if exists(in.Tree.ActiveLink(s.ID.Name, s.target())) {
		return // also when it dangles: an installation that lost its build
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

const (
	originSuffix = ".origin"
	// maxOrigin bounds such a file, in bytes.
	maxOrigin = 8 << 10
)

// noteOrigin writes where an archived file comes from. It is written first: an
// archived file without it cannot be put back.
func noteOrigin(file, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return system.WriteFile(to+originSuffix, []byte(file+"\n"), 0o644)
}

// moveFile renames a file, or copies it to another file system and deletes it
// after the copy is durable.
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

// restore notes the originals that a package displaced, to be put back. What
// cannot be stays in the archive, with a warning.
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

// forgetOrigins deletes what was written beside originals that are back in
// their places.
func (in *Installer) forgetOrigins(t *transaction) error {
	for _, m := range t.Moves {
		if err := removeFile(m.From + originSuffix); err != nil {
			return err
		}
		in.Report.Progressf("%s: restored the original %s", t.ID, m.To)
	}
	return nil
}

// origin is where an archived file belongs: what is written beside it, if
// that lies in the module directory of the kernel, or what legacy says of
// archives from before that was written down.
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

// maxOrder bounds the list of a kernel's modules, in bytes.
const maxOrder = 16 << 20

// orderedIn is the directory of one of the kernel's own modules by modules.order,
// which comes with the kernel and lists them as they were built: without the
// suffix of a compression. DKMS before 3.1 archives originals without a word of
// where they come from.
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
