package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"dkms/pkg/system"
)

// rehearsedName is the directory of the builds of the last rehearsal before a
// transaction. The name is hidden, so that the original ignores the directory.
const rehearsedName = ".rehearsed"

func (t *Tree) rehearsedDir(id ID, k Target) string {
	sum := sha256.Sum256(fmt.Appendln(nil, id, k))
	return filepath.Join(t.dir, rehearsedName, hex.EncodeToString(sum[:])[:16])
}

// rehearsed lists the rehearsed builds and their targets.
func (t *Tree) rehearsed() map[string]Target {
	list := map[string]Target{}
	for _, dir := range system.Glob(t.dir, rehearsedName+"/*") {
		var m Manifest
		if readJSON(filepath.Join(dir, manifestName), &m) == nil && m.Schema == manifestSchema {
			list[dir] = Target{m.Kernel, m.Arch}
		}
	}
	return list
}

// TakeRehearsed takes the rehearsed build of a version for a target out of the
// rehearsed builds: it serves once. It has the layout of a build, with modules that
// are neither signed nor compressed. m is nil if there is none that can serve. The
// caller calls done in any case, which deletes what was taken out.
func (t *Writer) TakeRehearsed(id ID, k Target) (dir string, m *Manifest, done func() error) {
	from, out := t.rehearsedDir(id, k), ""
	done = func() error { return errors.Join(os.RemoveAll(out), dropRehearsed(from)) }
	if !system.IsDir(from) {
		return "", nil, done
	}
	out, err := os.MkdirTemp(t.dir, StagePrefix)
	if err == nil {
		dir = filepath.Join(out, filepath.Base(from))
		err = os.Rename(from, dir)
	}
	if err == nil {
		m, err = manifestIn(dir, id, k)
	}
	if err != nil || m == nil || m.Unfinished || len(m.Files) == 0 {
		return "", nil, done
	}
	return dir, m, done
}

// dropRehearsed deletes a rehearsed build, if it is still in its place, and the
// directory of all of them if that is empty then.
func dropRehearsed(dir string) error {
	err := os.RemoveAll(dir)
	if all := os.Remove(filepath.Dir(dir)); !isGone(all) && !errors.Is(all, syscall.ENOTEMPTY) {
		err = errors.Join(err, all)
	}
	return err
}

// KeepRehearsed makes a build of a scratch tree a rehearsed build. It needs no
// lock: nothing else writes rehearsed builds, and another process finds either the
// whole of one or nothing.
func (t *Tree) KeepRehearsed(ctx context.Context, from *Tree, id ID, k Target) error {
	to := t.rehearsedDir(id, k)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(to), StagePrefix+filepath.Base(to))
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
