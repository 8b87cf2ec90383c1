package module

import (
	"runtime"
	"strings"
	"sync"

	"dkms/pkg/system"

	"golang.org/x/sys/unix"
)

// Files lists the module files below a directory, by their names: each directory
// in byte order, with what is below a directory in its place. It leaves out links,
// and directories that cannot be read. A kernel has some hundred directories, so
// several are read at a time.
func Files(dir string) []string {
	return (&finder{make(chan struct{}, runtime.GOMAXPROCS(0))}).below(dir)
}

type finder struct{ seats chan struct{} }

func (f *finder) below(dir string) []string {
	f.seats <- struct{}{}
	entries, _ := system.ReadDir(dir)
	<-f.seats
	here := new([]string)
	parts := []*[]string{here}
	var others sync.WaitGroup
	for _, e := range entries {
		switch path := dir + "/" + e.Name; {
		case e.IsDir():
			sub := new([]string)
			here = new([]string)
			parts = append(parts, sub, here)
			others.Go(func() { *sub = f.below(path) })
		case e.Kind == unix.DT_REG && IsFileName(e.Name):
			*here = append(*here, path)
		}
	}
	others.Wait()
	var list []string
	for _, part := range parts {
		list = append(list, *part...)
	}
	return list
}

// IsFileName tells whether a file has the name of a module, with any suffix that
// [ParseSuffix] knows.
func IsFileName(name string) bool {
	if !strings.Contains(name, ".ko") {
		return false
	}
	_, _, ok := ParseSuffix(name)
	return ok
}
