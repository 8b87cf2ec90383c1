package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"dkms/pkg/system"
)

// StagePrefix is the prefix of directories of the tree that are not finished
// yet, or are being deleted.
const StagePrefix = ".tmp_"

// removeWhole deletes a directory so that nobody ever sees a part of it. A
// directory that cannot be renamed, such as a mount point or a directory of the
// lower layer of an overlay, is deleted in place.
func removeWhole(dir string) error {
	out := filepath.Join(filepath.Dir(dir), StagePrefix+filepath.Base(dir)+".out")
	err := os.RemoveAll(out)
	if err == nil {
		err = os.Rename(dir, out)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return system.RemoveParts(dir)
	}
	return os.RemoveAll(out)
}

// Sweep deletes what interrupted runs have left in the tree: staged files and
// directories, and directories that have stayed empty. Files that an
// interrupted build gave to a build user belong to root again. The caller holds
// the lock.
func (t *Writer) Sweep() (swept []string) {
	top, err := filepath.EvalSymlinks(t.dir)
	if err != nil {
		return nil
	}
	var dirs []string
	filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(top, path)
		depth := strings.Count(rel, "/") + 1
		switch {
		case relErr != nil || rel == ".":
		case strings.HasPrefix(d.Name(), system.StagePrefix), strings.HasPrefix(d.Name(), StagePrefix):
			if os.RemoveAll(path) == nil {
				swept = append(swept, path)
			}
			if d.IsDir() {
				return fs.SkipDir
			}
		case depth == 3 && d.Name() == scratchName:
			return fs.SkipDir // the files in there belong to the package
		case reclaim(path, d) != nil:
		case d.IsDir() && depth <= buildDepth:
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		if os.Remove(dir) == nil { // it was empty
			swept = append(swept, dir)
		}
	}
	return swept
}

// reclaim gives the files of a build user to root.
func reclaim(path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && system.IsBuildUser(int(st.Uid)) {
		return os.Lchown(path, 0, 0)
	}
	return nil
}

// buildDepth is the depth of NAME/VERSION/KERNEL/ARCH below the tree.
const buildDepth = 4
