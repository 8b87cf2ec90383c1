package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"dkms/pkg/install"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// TestIdle: one package that is not as it should be is found among many,
// wherever it is, whoever looks at it.
func TestIdle(t *testing.T) {
	const packages = 5 * sharing
	targets := []tree.Target{{Kernel: "6.1.0-1", Arch: "x86_64"}, {Kernel: "6.1.0-2", Arch: "x86_64"}}
	root := system.Root{Dir: t.TempDir()}
	e := &Engine{host: system.Host{Root: root, CPUs: 4}, tree: tree.Open(root), kernels: map[string]*kernel.Kernel{}}
	e.installer = &install.Installer{Tree: e.tree}
	id := func(n int) tree.ID { return tree.ID{Name: fmt.Sprintf("mod%02d", n), Version: "1.0"} }
	for n := range packages {
		sources := filepath.Join(root.SourceTree(), id(n).Name+"-1.0")
		check(t, os.MkdirAll(sources, 0o755), e.tree.Add(id(n), sources))
		for _, k := range targets {
			check(t, os.MkdirAll(e.tree.Modules(id(n), k), 0o755), e.tree.Activate(id(n), k))
		}
	}
	want := func(why string, want bool) {
		t.Helper()
		if got, err := e.idle(targets); got != want || err != nil {
			t.Errorf("%s: idle = %v, %v; want %v", why, got, err, want)
		}
	}
	want("everything is installed", true)
	for _, n := range []int{0, sharing - 1, sharing, packages / 2, packages - 1} {
		check(t, e.tree.Deactivate(id(n).Name, targets[1]))
		want(fmt.Sprintf("package %d is not installed", n), false)
		check(t, e.tree.Activate(id(n), targets[1]))
	}
	check(t, os.Remove(filepath.Join(root.SourceTree(), id(7).Name+"-1.0")))
	want("the sources of one are lost", false)
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
