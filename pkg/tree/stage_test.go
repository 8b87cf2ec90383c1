package tree

import (
	"os"
	"path/filepath"
	"testing"

	"dkms/pkg/system"
)

// TestStage has a build come into the tree whole, or not at all, and go again.
func TestStage(t *testing.T) {
	tr := &Writer{Tree: Open(system.Root{Dir: t.TempDir()})}
	id, k := ID{"hello", "1.0"}, Target{"6.1", "x86_64"}
	beside := filepath.Dir(tr.BuildDir(id, k))
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	begin := func(text string) *Stage {
		t.Helper()
		s, err := tr.Stage(id, k)
		check(err)
		check(s.Lay())
		check(s.Module("hello.ko", []byte(text)))
		return s
	}
	want := func(text string, entries int) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(tr.Modules(id, k), "hello.ko"))
		if string(got) != text || (err == nil) != (text != "") {
			t.Errorf("the build has %q, %v; want %q", got, err, text)
		}
		if list, _ := os.ReadDir(beside); len(list) != entries {
			t.Errorf("there are %v; want %d", list, entries)
		}
	}
	manifest := func() *Manifest {
		return &Manifest{Module: id.Name, Version: id.Version, Kernel: k.Kernel, Arch: k.Arch, Installed: []Installed{{Path: "/elsewhere"}}}
	}

	check(os.MkdirAll(tr.VersionDir(id), 0o755))
	s := begin("given up")
	want("", 1)
	check(s.Discard())
	if left, _ := os.ReadDir(tr.VersionDir(id)); len(left) > 0 {
		t.Errorf("a stage that was given up leaves %v", left)
	}

	begin("interrupted")
	s = begin("first")
	want("", 1)
	m := manifest()
	check(s.Save(m))
	check(os.WriteFile(s.Log(), nil, 0o644))
	for path, want := range map[string]os.FileMode{
		"": 0o755, "log": 0o755, "module": 0o755, "module/hello.ko": 0o644, manifestName: 0o644,
	} {
		if st, err := os.Stat(filepath.Join(s.Dir, path)); err != nil || st.Mode().Perm() != want {
			t.Errorf("the mode of %q is %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if len(m.Installed) > 0 {
		t.Errorf("nothing was installed, and the manifest has %v", m.Installed)
	}
	check(s.Swap())
	want("first", 1)
	check(s.Discard())
	want("first", 1)
	m.Installed = []Installed{{Path: "/here"}}
	check(m.Save(tr.BuildDir(id, k)))

	s = begin("second")
	check(manifest().Save(s.Dir))
	if got, err := s.Manifest(); err != nil || got == nil || got.Installed[0].Path != "/elsewhere" {
		t.Errorf("the manifest of the stage is %+v, %v", got, err)
	}
	check(s.Save(manifest()))
	check(s.Swap())
	want("second", 2)
	check(s.Swap())
	want("first", 2)
	check(s.Swap())
	check(s.Discard())
	want("second", 1)
	if m, err := tr.Manifest(id, k); err != nil || m == nil || len(m.Installed) != 1 || m.Installed[0].Path != "/here" {
		t.Errorf("Manifest = %+v, %v; want what the first build has installed", m, err)
	}

	check(s.Discard())
	if err := s.Swap(); err == nil {
		t.Error("nothing can be swapped in")
	}
	want("second", 1)
}
