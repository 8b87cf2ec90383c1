package install

import (
	"os"
	"path/filepath"
	"sync"

	"dkms/pkg/module"
	"dkms/pkg/tree"
)

// usual are the directories, below a kernel's module directory, that DKMS
// installs into by default.
var usual = []string{"updates/dkms", "updates", "extra", "kernel/extra"}

// Copies finds the installed copies of built modules without a record. It looks
// in the usual directories first, and walks the kernel's directory at most
// once.
type Copies struct {
	dir  string
	walk func() files
}

// FindCopies prepares a search of the directory of a kernel.
func FindCopies(t *tree.Tree, release string) Copies {
	dir := filepath.Join(t.Root().InstallTree(), release)
	return Copies{dir, sync.OnceValue(func() files { return scan(dir) })}
}

// Has tells whether a built module is installed: as a file of the same size or
// contents, or as a link to it.
func (c Copies) Has(built string) bool {
	st, err := os.Stat(built)
	name, _, ok := module.ParseSuffix(filepath.Base(built))
	if err != nil || !ok {
		return false
	}
	for _, sub := range usual {
		if have, err := os.Lstat(filepath.Join(c.dir, sub, filepath.Base(built))); err == nil && have.Mode().IsRegular() && have.Size() == st.Size() {
			return true
		}
	}
	if len(links(c.dir, filepath.Base(built), built)) > 0 {
		return true
	}
	return len(ownCopies(built, c.walk()[name])) > 0
}
