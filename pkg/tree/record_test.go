package tree

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func sample() *Manifest {
	return &Manifest{
		Module: foo.Name, Version: foo.Version, Kernel: target.Kernel, Arch: target.Arch,
		Built: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Compiler: "gcc-12", Signer: "CN=\"x\"\n",
		Files:      []File{{Name: "foo.ko.xz", Location: "/kernel/extra", SHA256: "00", Size: 1 << 40}},
		PostRemove: "post.sh 'a b'", NoWeakModules: true,
		Installed: []Installed{{Path: "/lib/modules/x/updates/dkms/foo.ko.xz", SHA256: "00", Size: 3, ModTime: 1 << 60, Link: true}},
	}
}

func TestManifestRoundTrip(t *testing.T) {
	tr := newTree(t)
	if m, err := tr.Manifest(foo, target); m != nil || err != nil {
		t.Errorf("Manifest of nothing = %v, %v; want neither", m, err)
	}
	built(t, tr, foo, target)
	for _, m := range []*Manifest{sample(), {Module: "foo", Version: "1.0", Kernel: target.Kernel, Arch: target.Arch}} {
		must(t, m.Save(tr.BuildDir(foo, target)))
		got, err := tr.Manifest(foo, target)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("Manifest = %+v, %v; want %+v", got, err, m)
		}
	}
}

// A manifest that is not about the build is none: somebody copied it, or a
// later program wrote it.
func TestManifestOfAnother(t *testing.T) {
	tr := newTree(t)
	built(t, tr, foo, target)
	path := filepath.Join(tr.BuildDir(foo, target), ".manifest.json")
	for name, change := range map[string]func(*Manifest){
		"schema": func(m *Manifest) { m.Schema = 2 }, "module": func(m *Manifest) { m.Module = "bar" },
		"version": func(m *Manifest) { m.Version = "2" }, "kernel": func(m *Manifest) { m.Kernel = "6" }, "arch": func(m *Manifest) { m.Arch = "i686" },
	} {
		m := sample()
		m.Schema = 1
		change(m)
		data, err := json.Marshal(m)
		must(t, err)
		write(t, path, string(data))
		if got, err := tr.Manifest(foo, target); got != nil || err != nil {
			t.Errorf("another %s: Manifest = %v, %v; want neither", name, got, err)
		}
	}
}

func TestManifestHostile(t *testing.T) {
	tr := newTree(t)
	built(t, tr, foo, target)
	path := filepath.Join(tr.BuildDir(foo, target), ".manifest.json")
	for _, text := range []string{"", "{", "[]", `"x"`, `{"schema":"1"}`, `{"schema":1} trailing`, "\x00", `{"installed":{}}`, strings.Repeat("[", 100_000), strings.Repeat(" ", maxRecord+1)} {
		write(t, path, text)
		m, err := tr.Manifest(foo, target)
		if m != nil || !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("Manifest(%.20q) = %v, %v; want an error that begins with the path", text, m, err)
		}
	}
	must(t, os.Remove(path))
	must(t, unix.Mkfifo(path, 0o644)) // reading it would hang
	if m, err := tr.Manifest(foo, target); m != nil || !errors.Is(err, ErrDamaged) {
		t.Errorf("Manifest of a pipe = %v, %v; want an error", m, err)
	}
}

func FuzzManifest(f *testing.F) {
	tr := newTree(f)
	dir := tr.BuildDir(foo, target)
	must(f, os.MkdirAll(dir, 0o755))
	m := sample()
	m.Schema = 1
	data, err := json.Marshal(m)
	must(f, err)
	for _, seed := range []string{string(data), "", "null", "{}", `{"schema":1,"files":null}`, `{"built":"yesterday"}`, `{"installed":[{"size":1e99}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		must(t, os.WriteFile(filepath.Join(dir, ".manifest.json"), data, 0o644))
		must(t, os.WriteFile(tr.failurePath(foo, target), data, 0o644))
		if fail := tr.Failure(foo, target); fail != nil && fail.Schema != 1 {
			t.Errorf("a failure of schema %d was taken", fail.Schema)
		}
		got, err := tr.Manifest(foo, target)
		if got == nil {
			return
		}
		if err != nil || got.Module != foo.Name || got.Version != foo.Version || got.Kernel != target.Kernel || got.Arch != target.Arch {
			t.Errorf("Manifest(%q) = %+v, %v", data, got, err)
		}
		must(t, got.Save(dir))
		if again, err := tr.Manifest(foo, target); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("Manifest(%q) = %+v; written and read again it is %+v, %v", data, got, again, err)
		}
	})
}

func TestFailure(t *testing.T) {
	tr := newTree(t)
	must(t, tr.RecordFailure(foo, target, Failure{Message: "too early"}))
	if got := names(t, tr.Root().Dir); got != "src" {
		t.Errorf("a failure of a version that is not there left %s", got)
	}
	add(t, tr, foo)
	want := Failure{Schema: 1, Time: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Code: 10, Message: "make failed\n  line 2", Hint: "read", Log: "/x"}
	must(t, tr.RecordFailure(foo, target, want))
	if got := tr.Failure(foo, target); got == nil || *got != want {
		t.Errorf("Failure = %+v; want %+v", got, want)
	}
	if got := tr.Failure(foo, Target{"6.1.0", "x86_64"}); got != nil {
		t.Errorf("Failure for another kernel = %+v", got)
	}
	if got, err := tr.Versions("foo"); err != nil || len(got) != 1 || len(got[0].Builds) != 0 {
		t.Errorf("with a failure recorded the versions are %v", got)
	}
	for _, text := range []string{"", "{}", "null", `{"schema":2}`, "{"} {
		write(t, tr.failurePath(foo, target), text)
		if got := tr.Failure(foo, target); got != nil {
			t.Errorf("Failure(%q) = %+v; want none", text, got)
		}
	}
	tr.ForgetFailure(foo, target)
	tr.ForgetFailure(foo, target)
	if got := names(t, tr.VersionDir(foo)); got != "build source" {
		t.Errorf("after forgetting there is %s", got)
	}
}

func TestNewest(t *testing.T) {
	tr := newTree(t)
	for _, v := range []string{"1.9", "1.10", "1.2"} {
		built(t, tr, ID{"dep", v}, target)
	}
	add(t, tr, ID{"dep", "99"}) // not built: no build sees it
	other := Target{"6.2", "x86_64"}
	if got := tr.Newest("dep", target); got != "1.10" {
		t.Errorf("Newest = %q; want 1.10", got)
	}
	activate(t, tr, ID{"dep", "1.2"}, target)
	if got := tr.Newest("dep", target); got != "1.2" {
		t.Errorf("Newest = %q; want the installed 1.2", got)
	}
	activate(t, tr, ID{"dep", "99"}, target)
	if got := tr.Newest("dep", target); got != "1.10" {
		t.Errorf("with an active version that is not built Newest = %q; want 1.10", got)
	}
	for _, name := range []string{"none", "", ".."} {
		if got := tr.Newest(name, target); got != "" {
			t.Errorf("Newest(%q) = %q; want none", name, got)
		}
	}
	if got := tr.Newest("dep", other); got != "" {
		t.Errorf("Newest for another kernel = %q; want none", got)
	}
}

func TestRecordDepends(t *testing.T) {
	tr := newTree(t)
	built(t, tr, foo, target)
	built(t, tr, ID{"dep", "1.9"}, target)
	add(t, tr, ID{"later", "1"})
	must(t, tr.RecordDepends(foo, target, []string{"dep", "later", "none", "../dep", ""}))
	if got := names(t, tr.BuildDir(foo, target)); got != ".dep_dep module module/foo.ko" {
		t.Errorf("RecordDepends left %s", got)
	}
	if data, _ := os.ReadFile(filepath.Join(tr.BuildDir(foo, target), ".dep_dep")); string(data) != "1.9\n" {
		t.Errorf("the record is %q; want one line with the version", data)
	}
	for name, want := range map[string]string{"dep": "1.9", "later": "", "none": "", "../dep": ""} {
		if got := tr.RecordedDepend(foo, target, name); got != want {
			t.Errorf("RecordedDepend(%q) = %q; want %q", name, got, want)
		}
	}
}
