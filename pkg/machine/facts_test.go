package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

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
	m := &Machine{Host: system.Host{Root: root, CPUs: 4, Now: time.Now}, Tree: tree.Open(root), kernels: map[tree.Target]*kernel.Kernel{}}
	w, err := m.Tree.Lock(t.Context(), "test", func(string) {})
	check(t, err)
	defer w.Unlock("")
	id := func(n int) tree.ID { return tree.ID{Name: fmt.Sprintf("mod%02d", n), Version: "1.0"} }
	for n := range packages {
		sources := filepath.Join(root.SourceTree(), id(n).Name+"-1.0")
		check(t, os.MkdirAll(sources, 0o755), w.Add(id(n), sources))
		for _, k := range targets {
			check(t, os.MkdirAll(m.Tree.Modules(id(n), k), 0o755), w.Activate(id(n), k))
		}
	}
	want := func(why string, want bool) {
		t.Helper()
		facts, err := m.Facts()
		check(t, err)
		if got := facts.idle(targets); got != want {
			t.Errorf("%s: idle = %v; want %v", why, got, want)
		}
	}
	want("everything is installed", true)
	for _, n := range []int{0, sharing - 1, sharing, packages / 2, packages - 1} {
		check(t, w.Deactivate(id(n).Name, targets[1]))
		want(fmt.Sprintf("package %d is not installed", n), false)
		check(t, w.Activate(id(n), targets[1]))
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
