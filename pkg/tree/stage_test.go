package tree

import (
	"os"
	"path/filepath"
	"testing"

	"dkms/pkg/system"
)

// TestStage has a build come into the tree whole, or not at all.
func TestStage(t *testing.T) {
	tr := Open(system.Root{Dir: t.TempDir()})
	id, k := ID{"hello", "1.0"}, Target{"6.1", "x86_64"}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(tr.VersionDir(id), 0o755))
	s, err := tr.Stage(id, k)
	check(err)
	check(s.Module("hello.ko", []byte("first")))
	if tr.IsBuilt(id, k) {
		t.Error("a stage counts as a build")
	}
	s.Discard()
	if left, _ := os.ReadDir(tr.VersionDir(id)); len(left) > 0 {
		t.Errorf("a stage that was given up leaves %v", left)
	}
	for _, text := range []string{"first", "second"} {
		s, err := tr.Stage(id, k)
		check(err)
		check(s.Module("hello.ko", []byte(text)))
		check(s.Log([]byte("log of " + text)))
		m := &Manifest{Module: id.Name, Version: id.Version, Kernel: k.Kernel, Arch: k.Arch}
		if text == "first" {
			m.Installed = []Installed{{Path: "/x"}}
		}
		check(s.Keep(m))
		s.Discard()
		got, err := os.ReadFile(filepath.Join(tr.Modules(id, k), "hello.ko"))
		check(err)
		if string(got) != text {
			t.Errorf("the build has %q; want %q", got, text)
		}
	}
	m, err := tr.Manifest(id, k)
	if err != nil || m == nil || len(m.Installed) != 1 {
		t.Errorf("Manifest = %+v, %v; want what the first build has installed", m, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(tr.BuildDir(id, k))); len(entries) != 1 {
		t.Errorf("beside the build is left %v", entries)
	}
}
