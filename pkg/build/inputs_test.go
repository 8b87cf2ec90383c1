package build

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// TestSourcesKey: kernels share what is known of the sources until /etc/dkms
// adds a file for one of them.
func TestSourcesKey(t *testing.T) {
	root := system.Root{Dir: t.TempDir()}
	id := tree.ID{Name: "hello", Version: "1.0"}
	key := func(release string) string {
		return SourcesOf(tree.Open(root), id, tree.Target{Kernel: release, Arch: "x86_64"}, nil).Key()
	}
	if a, b := key("6.1.0-1"), key("6.1.0-2"); a != b {
		t.Errorf("two kernels with the same sources have the keys %q and %q", a, b)
	}
	override := root.Path("/etc/dkms/hello-1.0-6.1.0-2.conf")
	if err := errors.Join(os.MkdirAll(filepath.Dir(override), 0o755), os.WriteFile(override, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if a, b := key("6.1.0-1"), key("6.1.0-2"); a == b {
		t.Errorf("a kernel with an override of its own has the key of another one, %q", a)
	}
}
