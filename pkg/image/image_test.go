package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var must = testkit.Must

func runner() *system.Runner { return system.NewRunner(system.Host{UID: os.Geteuid()}) }

func sample() *Image {
	long := strings.Repeat("long/", 30) + "name"
	return &Image{
		Layers: [][]File{
			{{Name: "bin/sh", Link: "busybox"}, {Name: "bin/busybox", Data: []byte("program"), Exec: true}},
			{{Name: "b/two", Data: []byte("2")}, {Name: "a/one", Data: []byte("1")}, {Name: long, Data: []byte("deep")}},
		},
		Arch: "x86_64", Annotations: map[string]string{"z": "last", "a": "first"}, Tags: []string{"one", "two"},
	}
}

func write(t testing.TB, img *Image) (dir, digest string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "layout")
	digest, err := Write(dir, img)
	must(t, err)
	return dir, digest
}

func TestRoundTrip(t *testing.T) {
	dir, digest := write(t, sample())
	l, err := Open(dir)
	must(t, err)
	if l.Digest != digest || l.Annotations["a"] != "first" {
		t.Errorf("Open(dir) = %s, %v; want %s with the annotations", l.Digest, l.Annotations, digest)
	}
	out := filepath.Join(t.TempDir(), "out")
	must(t, l.Unpack(t.Context(), runner(), out))
	for name, want := range map[string]string{"a/one": "1", "b/two": "2", strings.Repeat("long/", 30) + "name": "deep"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(out, "bin")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a layer below the top was unpacked: %v", err)
	}
}

// TestSame wants the order in which files are given, their times and the place
// of the layout to play no part.
func TestSame(t *testing.T) {
	_, first := write(t, sample())
	img := sample()
	img.Layers[1][0], img.Layers[1][2] = img.Layers[1][2], img.Layers[1][0]
	file := filepath.Join(t.TempDir(), "one")
	must(t, os.WriteFile(file, []byte("1"), 0o600))
	img.Layers[1][1] = File{Name: "a/one", Path: file}
	if dir, second := write(t, img); second != first {
		t.Errorf("Write = %s in %s; want %s, as before", second, dir, first)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "/x", "a//b", "a/../b", "a/"} {
		img := &Image{Layers: [][]File{{{Name: name}}}}
		if _, err := Write(filepath.Join(t.TempDir(), "l"), img); err == nil {
			t.Errorf("Write takes a file called %q", name)
		}
	}
	img := &Image{Layers: [][]File{{{Name: "x"}, {Name: "x"}}}}
	if _, err := Write(filepath.Join(t.TempDir(), "l"), img); err == nil {
		t.Error("Write takes two files of one name")
	}
}

// edit changes the JSON blob that the only descriptor of a kind leads to, and
// everything above it, so that only the contents are wrong.
func edit(t *testing.T, dir string, change func(m *manifest)) {
	t.Helper()
	l, err := Open(dir)
	must(t, err)
	change(&l.manifest)
	d, err := writeBlob(dir, mediaManifest, l.manifest)
	must(t, err)
	must(t, writeIndex(dir, d, nil))
}

func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(path, data, 0o644))
}

// TestRefused has images that are not what they say, one fault each.
func TestRefused(t *testing.T) {
	layer := func(t *testing.T, dir string, i int) string {
		l, err := Open(dir)
		must(t, err)
		return blob(dir, l.manifest.Layers[i].Digest)
	}
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"no index": func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, indexFile))) },
		"index that is none": func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, indexFile), []byte("{"), 0o644))
		},
		"top layer changed":     func(t *testing.T, dir string) { flip(t, layer(t, dir, 1)) },
		"lower layer changed":   func(t *testing.T, dir string) { flip(t, layer(t, dir, 0)) },
		"layer cut off":         func(t *testing.T, dir string) { must(t, os.Truncate(layer(t, dir, 1), 20)) },
		"layer missing":         func(t *testing.T, dir string) { must(t, os.Remove(layer(t, dir, 0))) },
		"manifest changed":      func(t *testing.T, dir string) { l, _ := Open(dir); flip(t, blob(dir, l.Digest)) },
		"configuration changed": func(t *testing.T, dir string) { l, _ := Open(dir); flip(t, blob(dir, l.manifest.Config.Digest)) },
		"size wrong":            func(t *testing.T, dir string) { edit(t, dir, func(m *manifest) { m.Layers[1].Size++ }) },
		"size negative":         func(t *testing.T, dir string) { edit(t, dir, func(m *manifest) { m.Layers[1].Size = -1 }) },
		"size huge":             func(t *testing.T, dir string) { edit(t, dir, func(m *manifest) { m.Layers[1].Size = 1 << 60 }) },
		"no layers":             func(t *testing.T, dir string) { edit(t, dir, func(m *manifest) { m.Layers = nil }) },
		"digest with a path": func(t *testing.T, dir string) {
			edit(t, dir, func(m *manifest) { m.Layers[1].Digest = "sha256:../../../etc/passwd" })
		},
		"digest of another kind": func(t *testing.T, dir string) { edit(t, dir, func(m *manifest) { m.Layers[1].Digest = "md5:00" }) },
		"layer of another kind": func(t *testing.T, dir string) {
			edit(t, dir, func(m *manifest) { m.Layers[1].MediaType = "text/html" })
		},
		"link in the top layer": func(t *testing.T, dir string) {
			edit(t, dir, func(m *manifest) { m.Layers[0], m.Layers[1] = m.Layers[1], m.Layers[0] })
		},
		"blob that is a link": func(t *testing.T, dir string) {
			file := layer(t, dir, 1)
			must(t, os.Rename(file, file+".real"))
			must(t, os.Symlink(file+".real", file))
		},
		"blob that is a pipe": func(t *testing.T, dir string) {
			file := layer(t, dir, 1)
			must(t, os.Remove(file))
			must(t, exec.Command("mkfifo", file).Run())
		},
		"two images": func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, indexFile))
			must(t, err)
			var x index
			must(t, json.Unmarshal(data, &x))
			x.Manifests[1].Digest = "sha256:" + strings.Repeat("0", 64)
			data, err = json.Marshal(x)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, indexFile), data, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := write(t, sample())
			spoil(t, dir)
			out := filepath.Join(t.TempDir(), "out")
			l, err := Open(dir)
			if err == nil {
				err = l.Unpack(t.Context(), runner(), out)
			}
			if exit.Status(err) != exit.BadArchive {
				t.Errorf("reading it = %v; want status %d", err, exit.BadArchive)
			}
			if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was left unpacked: %v", err)
			}
		})
	}
}

func TestArchive(t *testing.T) {
	dir, _ := write(t, sample())
	var a, b bytes.Buffer
	must(t, Archive(&a, dir))
	must(t, Archive(&b, dir))
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two archives of one layout differ")
	}
	names := map[string]bool{}
	for r := tar.NewReader(&a); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		names[h.Name] = true
	}
	if !names["oci-layout"] || !names["index.json"] || !names["blobs/sha256/"] {
		t.Errorf("the archive holds %v; want a layout", names)
	}
}

// TestSkopeo has skopeo and umoci read what is written.
func TestSkopeo(t *testing.T) {
	for _, p := range []string{"skopeo", "umoci"} {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", p)
		}
		t.Skipf("%s is not installed", p)
	}
	dir, digest := write(t, sample())
	out, err := exec.Command("skopeo", "inspect", "oci:"+dir+":two").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(digest)) {
		t.Errorf("skopeo inspect = %s, %v; want %s", out, err, digest)
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	if out, err := exec.Command("umoci", "unpack", "--rootless", "--image", dir+":one", bundle).CombinedOutput(); err != nil {
		t.Fatalf("umoci unpack: %v: %s", err, out)
	}
	if target, err := os.Readlink(filepath.Join(bundle, "rootfs/bin/sh")); err != nil || target != "busybox" {
		t.Errorf("bin/sh leads to %q, %v; want busybox", target, err)
	}
}

func TestArch(t *testing.T) {
	for machine, want := range map[string]string{"x86_64": "amd64", "i686": "386", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64", "loongarch64": "loong64"} {
		if got := Arch(machine); got != want {
			t.Errorf("Arch(%q) = %q; want %q", machine, got, want)
		}
	}
}

// digestForm is what isDigest has to tell, in other words.
var digestForm = regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)

// What is no digest must not become a path.
func TestIsDigest(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	for digest, want := range map[string]bool{
		"sha256:" + zeros: true, "sha256:" + strings.Repeat("0123456789abcdef", 4): true,
		"": false, "sha256:": false, zeros: false, "sha256:" + zeros[1:]: false, "sha256:" + zeros + "0": false,
		"sha256:" + zeros + "\n": false, "sha256:" + zeros[1:] + "\n": false, "sha256:" + zeros[:32] + "/../" + zeros[:28]: false,
		"sha256:" + strings.Repeat("A", 64): false, "sha512:" + zeros: false, "sha256:" + zeros[1:] + ".": false,
	} {
		if got := isDigest(digest); got != want || digestForm.MatchString(digest) != want {
			t.Errorf("isDigest(%q) = %v; want %v", digest, got, want)
		}
	}
}

// FuzzIndex and FuzzManifest look for what makes the readers of an image panic
// or follow something that is no digest.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"` + mediaManifest + `","digest":"sha256:` + strings.Repeat("0", 64) + `","size":2}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := parseIndex(data); err == nil && (!digestForm.MatchString(d.Digest) || d.Size < 0 || d.Size > maxJSON) {
			t.Errorf("parseIndex(%q) = %+v; want an error", data, d)
		}
	})
}

func FuzzManifest(f *testing.F) {
	zero := `"digest":"sha256:` + strings.Repeat("0", 64) + `","size":2}`
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"x",` + zero + `,"layers":[{"mediaType":"` + mediaGzip + `",` + zero + `]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		for _, d := range append(m.Layers, m.Config) {
			if !digestForm.MatchString(d.Digest) || d.Size < 0 {
				t.Errorf("parseManifest(%q) has %+v; want an error", data, d)
			}
		}
	})
}
