package install

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"dkms/pkg/module"
	"dkms/pkg/system"
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

// HasSame tells whether a directory that DKMS installs into has a copy of a
// built file, byte for byte, or a link to it.
func (c Copies) HasSame(built string) bool {
	name, _, ok := module.ParseSuffix(filepath.Base(built))
	if !ok {
		return false
	}
	for _, sub := range usual {
		if sameFile(filepath.Join(c.dir, sub, filepath.Base(built)), built) {
			return true
		}
	}
	if len(links(c.dir, filepath.Base(built), built)) > 0 {
		return true
	}
	return slices.ContainsFunc(c.walk()[name], func(path string) bool { return sameFile(path, built) })
}

// sameFile tells whether two files, of which the first must not be a link, are
// equal.
func sameFile(path, built string) bool {
	a, stA, err := system.OpenPlain(path)
	if err != nil {
		return false
	}
	defer a.Close()
	b, stB, err := system.OpenRegular(built)
	if err != nil {
		return false
	}
	defer b.Close()
	if stA.Size() != stB.Size() {
		return false
	}
	bufA, bufB := make([]byte, 16<<10), make([]byte, 16<<10)
	for {
		n, err := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		switch {
		case n != m || !bytes.Equal(bufA[:n], bufB[:m]):
			return false
		case err != nil || errB != nil:
			ended := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
			return ended(err) && ended(errB)
		}
	}
}
