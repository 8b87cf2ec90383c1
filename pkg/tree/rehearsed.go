package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"dkms/pkg/system"
)

// rehearsedName is the directory of the builds of the last rehearsal before a
// transaction, NAME/VERSION/KERNEL/ARCH below it. The name is hidden, so that the
// original ignores the directory.
const rehearsedName = ".rehearsed"

func (t *Tree) rehearsedDir(id ID, k Target) string {
	return filepath.Join(t.dir, rehearsedName, id.Name, id.Version, k.Kernel, k.Arch)
}

// TakeRehearsed takes the rehearsed build of a version for a target out of the
// rehearsed builds: it serves once. It has the layout of a build, with modules that
// are neither signed nor compressed. The caller deletes it by done. m is nil if
// there is none.
func (t *Writer) TakeRehearsed(id ID, k Target) (dir string, m *Manifest, done func()) {
	from := t.rehearsedDir(id, k)
	if !system.IsDir(from) {
		return "", nil, nil
	}
	out, err := os.MkdirTemp(t.dir, StagePrefix)
	if err != nil {
		return "", nil, nil
	}
	done = func() { os.RemoveAll(out) }
	dir = filepath.Join(out, filepath.Base(from))
	if err = os.Rename(from, dir); err == nil {
		system.RemoveEmptyDirs(filepath.Dir(from), t.dir)
		m, err = manifestIn(dir, id, k)
	}
	if err != nil || m == nil || m.Unfinished || len(m.Files) == 0 {
		done()
		return "", nil, nil
	}
	return dir, m, done
}

// KeepRehearsed makes a build of a scratch tree a rehearsed build. It needs no
// lock: nothing else writes rehearsed builds, and another process finds either the
// whole of one or nothing.
func (t *Tree) KeepRehearsed(ctx context.Context, from *Tree, id ID, k Target) error {
	to := t.rehearsedDir(id, k)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(to), StagePrefix+k.Arch)
	err := os.RemoveAll(temp)
	if err == nil {
		err = system.CopyTree(ctx, temp, from.BuildDir(id, k), true)
	}
	for _, file := range system.Glob(temp, "module/*") {
		err = errors.Join(err, syncFile(file))
	}
	if err == nil {
		err = os.RemoveAll(to)
	}
	if err == nil {
		err = os.Rename(temp, to)
	}
	return errors.Join(err, os.RemoveAll(temp))
}

// ClearRehearsed deletes all rehearsed builds. One that stays is harmless: it is
// taken only for the inputs that it was made from.
func (t *Tree) ClearRehearsed() { os.RemoveAll(filepath.Join(t.dir, rehearsedName)) }
