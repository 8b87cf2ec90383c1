package install

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Sweep deletes what interrupted runs have staged in the module directory of a
// kernel. The caller holds the lock of the tree, and no journal is left.
func (in *Installer) Sweep(release string) (swept []string) {
	dir := filepath.Join(in.Tree.Root().InstallTree(), release)
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), system.StagePrefix) {
			return nil
		}
		if os.Remove(path) == nil {
			swept = append(swept, path)
			system.RemoveEmptyDirs(filepath.Dir(path), dir)
		}
		return nil
	})
	for _, made := range []string{"updates/dkms", "updates"} {
		system.RemoveEmptyDirs(filepath.Join(dir, made), dir)
	}
	return swept
}
