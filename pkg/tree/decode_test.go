package tree

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// usual is a manifest as almost every build has it.
func usual() *Manifest {
	return &Manifest{
		Module: foo.Name, Version: foo.Version, Kernel: target.Kernel, Arch: target.Arch,
		Built: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Used: time.Date(2026, 1, 3, 3, 4, 5, 0, time.UTC),
		Compiler: "gcc-12 (Debian 12.2.0-14) 12.2.0", Fingerprint: "ab", Headers: "cd", HeadersStamp: Stamp{1, -2, 3, 1 << 62},
		SourceDigest: "ef", Sources: "01", SourcesStamp: 1<<64 - 1, Fits: true, Signer: "CN=DKMS module signing key", SignLater: true,
		PostRemove: "post.sh a", NoWeakModules: true,
		Files:     []File{{Name: "foo.ko.xz", Location: "/kernel/extra", SHA256: "00", Size: 1 << 40}, {Name: "bar.ko"}},
		Installed: []Installed{{Path: "/lib/modules/x/updates/dkms/foo.ko.xz", SHA256: "00", Size: 3, ModTime: 1 << 60, Link: true}},
	}
}

func saved(t testing.TB, m *Manifest) string {
	t.Helper()
	dir := t.TempDir()
	must(t, m.Save(dir))
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	must(t, err)
	return string(data)
}

// TestDecode: the usual manifests are not left to encoding/json, and those with
// something unusual are.
func TestDecode(t *testing.T) {
	var got Manifest
	if want := usual(); !got.decode(saved(t, want)) || !reflect.DeepEqual(&got, want) {
		t.Errorf("decode() = %+v; want %+v", &got, want)
	}
	for name, change := range map[string]func(*Manifest){
		"an escape": func(m *Manifest) { m.Signer = `CN="x"` }, "another script": func(m *Manifest) { m.Compiler = "gcc é" },
		"no files": func(m *Manifest) { m.Files = nil }, "an interrupted build": func(m *Manifest) { m.Unfinished = true },
		"an origin": func(m *Manifest) { m.Origin = &Origin{From: "x"} },
	} {
		m := usual()
		change(m)
		var got Manifest
		if text := saved(t, m); got.decode(text) {
			t.Errorf("%s: decode() takes %s", name, text)
		}
	}
}

// FuzzDecode: what decode reads, encoding/json reads the same.
func FuzzDecode(f *testing.F) {
	for _, m := range []*Manifest{usual(), sample(), {}} {
		text := saved(f, m)
		f.Add(text)
		for i := 0; i < len(text); i += 40 {
			f.Add(text[:i])
		}
	}
	for _, text := range []string{
		`{}`, ` {"schema":1} `, `{"schema":01}`, `{"schema":-0}`, `{"schema":1e2}`, `{"schema":1,}`, `{"schema":1}x`, `{"schema":1,"schema":2}`,
		`{"files":[]}`, `{"files":[{"name":"a","size":1}],"files":[{"name":"b"}]}`, `{"Schema":1}`, `{"headers_stamp":[1,2,3]}`,
		`{"headers_stamp":[1,2,3,4,5]}`, `{"sources_stamp":"007"}`, `{"sources_stamp":7}`, `{"fits":"true"}`, `{"fits":true true}`,
		`{"built":"2026-01-02T03:04:05+25:00"}`, `{"built":"2026-1-2T3:4:5Z"}`, `{"module":null}`, "{\"module\":\"\x7f\"}", `[]`, `{"schema":1`,
		`{"schema":9223372036854775808}`, `{"installed":[{"path":"/x","link":false,"mtime":-1}]}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var ours, theirs Manifest
		if !ours.decode(text) {
			return
		}
		if err := json.Unmarshal([]byte(text), &theirs); err != nil || !reflect.DeepEqual(ours, theirs) {
			t.Errorf("%q:\ndecode: %+v\nencoding/json: %+v, %v", text, ours, theirs, err)
		}
	})
}

func BenchmarkManifest(b *testing.B) {
	data := []byte(saved(b, usual()))
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			var m Manifest
			m.decode(string(data))
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			var m Manifest
			must(b, json.Unmarshal(data, &m))
		}
	})
}
