package fleet

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/image"
	"dkms/pkg/system"
)

// TestForged has images that somebody put together who can write to the
// registry but has no key: all digests are right, and all parts were signed by
// the builder at some time.
func TestForged(t *testing.T) {
	one := newMachine(t).fakeKernel(release).sources("hello", "0.9").sources("hello", "1.0").sources("world", "1.0")
	for _, m := range []string{"hello/0.9", "hello/1.0", "world/1.0"} {
		one.dkms(0, "build", m)
		one.dkms(0, "export", m, "--archive", strings.ReplaceAll(m, "/", "-"), "--busybox", "none")
	}
	key := one.path("var/lib/dkms/mok.pub")
	two := newMachine(t).fakeKernel(release).sources("hello", "0.9").sources("hello", "1.0").sources("world", "1.0").withoutHeaders()
	old, world := one.unpacked("hello-0.9"), one.unpacked("world-1.0")
	const modules, records = "opt/lib/modules/" + release + "/updates/dkms", "opt/dkms/hello/1.0"
	for _, test := range []struct {
		name, says string
		forge      func(dir string)
	}{
		{"another module", "hello.ko is not the file that was built", func(dir string) {
			replace(t, filepath.Join(dir, modules, "hello.ko"), filepath.Join(world, modules, "world.ko"))
		}},
		{"an older build", "hello.ko is not the file that was built", func(dir string) {
			replace(t, filepath.Join(dir, modules, "hello.ko"), filepath.Join(old, modules, "hello.ko"))
		}},
		{"another source digest", "what it says of itself is not signed with a certificate", func(dir string) {
			file := filepath.Join(dir, records, "manifest.json")
			text := strings.Replace(read(t, file), `"source_digest": "`, `"source_digest": "0`, 1)
			must(t, os.WriteFile(file, []byte(text), 0o644))
		}},
		{"no signature", "what it says of itself is not signed", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, records, "manifest.p7s")))
		}},
		{"the words of an older build", "is not where it belongs", func(dir string) {
			for _, name := range []string{"manifest.json", "manifest.p7s"} {
				replace(t, filepath.Join(dir, records, name), filepath.Join(old, "opt/dkms/hello/0.9", name))
			}
		}},
		{"no module", "no such file", func(dir string) { must(t, os.Remove(filepath.Join(dir, modules, "hello.ko"))) }},
		{"no manifest", "not made by dkms export", func(dir string) { must(t, os.RemoveAll(filepath.Join(dir, "opt/dkms"))) }},
	} {
		dir := one.unpacked("hello-1.0")
		test.forge(dir)
		two.unchanged(7, test.says, "import", repacked(t, dir), "--certificate", key)
	}
	two.dkms(0, "import", repacked(t, one.unpacked("hello-1.0")), "--certificate", key) // the forger's own work is good

	// A module that was never signed.
	careless := newMachine(t).fakeKernel(release).sources("hello", "1.0")
	careless.write("etc/dkms/framework.conf", "try_sign_modules=false\n")
	careless.dkms(0, "build", "hello/1.0")
	careless.dkms(0, "export", "hello", "--archive", "image", "--busybox", "none")
	careless.says("there is no key to sign with")
	two.dkms(0, "remove", "hello/1.0")
	two.dkms(0, "add", "hello/1.0")
	two.unchanged(7, "what it says of itself is not signed", "import", careless.path("image"), "--certificate", key)
}

// unpacked is what an image of the machine holds.
func (m *machine) unpacked(name string) string {
	m.t.Helper()
	l, err := image.Open(m.path(name))
	must(m.t, err)
	dir := filepath.Join(m.t.TempDir(), "content")
	must(m.t, l.Unpack(m.t.Context(), system.NewRunner(system.ThisHost(nil)), dir))
	return dir
}

// repacked makes an image of what a directory holds.
func repacked(t *testing.T, dir string) string {
	t.Helper()
	var files []image.File
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, image.File{Name: name, Path: path})
		return err
	}))
	to := filepath.Join(t.TempDir(), "image")
	_, err := image.Write(to, &image.Image{Layers: [][]image.File{files}, Arch: "x86_64"})
	must(t, err)
	return to
}

func replace(t *testing.T, file, with string) {
	t.Helper()
	must(t, os.WriteFile(file, []byte(read(t, with)), 0o644))
}
