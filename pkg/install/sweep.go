package install

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Leftovers lists the files that interrupted runs have staged in the module
// directory of a kernel. Other programs have temporary files there, too, and so
// do headers. Our staged files and links lie beside modules, and their names
// are the name of a module between our mark and a number.
func Leftovers(t *tree.Tree, release string) []string {
	var list []string
	filepath.WalkDir(filepath.Join(t.Root().InstallTree(), release), func(path string, d fs.DirEntry, err error) error {
		if err == nil && isStaged(d) {
			list = append(list, path)
		}
		return nil
	})
	return list
}

// isStaged recognizes the names that [freeName] and [system.StageFile] make.
func isStaged(d fs.DirEntry) bool {
	name, marked := strings.CutPrefix(d.Name(), system.StagePrefix)
	i := strings.LastIndexByte(name, '.')
	if !marked || i < 0 || !d.Type().IsRegular() && d.Type() != fs.ModeSymlink {
		return false
	}
	number := name[i+1:]
	_, _, ok := module.ParseSuffix(name[:i])
	return ok && number != "" && strings.Trim(number, "0123456789abcdef") == ""
}

// Sweep deletes the files that interrupted runs have staged in the module
// directory of a kernel. The caller holds the lock of the tree, and there is no
// journal.
func (in *Installer) Sweep(release string) (swept []string) {
	dir := filepath.Join(in.Tree.Root().InstallTree(), release)
	for _, path := range Leftovers(in.Tree.Tree, release) {
		if os.Remove(path) == nil {
			swept = append(swept, path)
			system.RemoveEmptyDirs(filepath.Dir(path), dir)
		}
	}
	for _, made := range []string{"updates/dkms", "updates"} {
		system.RemoveEmptyDirs(filepath.Join(dir, made), dir)
	}
	return swept
}
