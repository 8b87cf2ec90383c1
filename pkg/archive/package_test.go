package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dkms/pkg/exit"
)

// deb writes a package as dpkg-deb would, with the given members.
func deb(t testing.TB, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(arMagic)
	for i := 0; i < len(members); i += 2 {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s", members[i], 0, 0, 0, 0o100644, len(members[i+1]), members[i+1])
		if len(members[i+1])%2 > 0 {
			b.WriteByte('\n')
		}
	}
	return put(t, filepath.Join(t.TempDir(), "x.deb"), b.String(), 0o644)
}

// An absolute link stays inside, wherever it is; packages share a directory.
func TestUnpackPackage(t *testing.T) {
	dir := t.TempDir()
	one := string(tarball(t, reg("./usr/src/h/Makefile"), link("./lib/modules/k/build", "/usr/src/h"), link("top", "/usr/src/h/"), link("usr/src/h/self", "/")))
	must(t, UnpackPackage(t.Context(), runner(), deb(t, "debian-binary", "2.0", "control.tar/", "x", "data.tar", one), dir))
	must(t, UnpackPackage(t.Context(), runner(), deb(t, "data.tar", string(tarball(t, reg("./usr/src/h/second")))), dir))
	for name, want := range map[string]string{"lib/modules/k/build": "../../../usr/src/h", "top": "usr/src/h", "usr/src/h/self": "../../../"} {
		if got, err := os.Readlink(filepath.Join(dir, name)); got != want {
			t.Errorf("%s -> %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"lib/modules/k/build/Makefile", "top/second"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	through := deb(t, "data.tar", string(tarball(t, reg("lib/modules/k/build/new"))))
	wantCode(t, "a member below a link of another package", UnpackPackage(t.Context(), runner(), through, dir), exit.BadArchive)
}

// A package of Gentoo has its files in an archive of their own, below "image".
func TestUnpackGentoo(t *testing.T) {
	image := string(tarball(t, reg("image/usr/src/h/Makefile"), link("image/lib/modules/k/build", "../../../usr/src/h"), link("image/top", "/usr/src/h")))
	gpkg := func(members ...string) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := 0; i < len(members); i += 2 {
			must(t, w.WriteHeader(&tar.Header{Name: "k-1-1/" + members[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(members[i+1]))}))
			_, err := w.Write([]byte(members[i+1]))
			must(t, err)
		}
		must(t, w.Close())
		return put(t, filepath.Join(t.TempDir(), "k-1-1.gpkg.tar"), b.String(), 0o644)
	}
	var zipped bytes.Buffer
	z, err := zstd.NewWriter(&zipped)
	must(t, err)
	_, err = z.Write([]byte(image))
	must(t, errors.Join(err, z.Close()))
	for name, content := range map[string]string{"image.tar": image, "image.tar.zst": zipped.String()} {
		file, dir := gpkg("gpkg-1", "", "metadata.tar.zst", "x", "image.tar.zst.sig", "x", name, content, "Manifest", "x"), t.TempDir()
		if !IsPackage(file) {
			t.Errorf("%s is no package", file)
		}
		must(t, UnpackPackage(t.Context(), runner(), file, dir))
		for _, path := range []string{"lib/modules/k/build/Makefile", "top/Makefile"} {
			if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	up := string(tarball(t, reg("image/../../evil")))
	wantCode(t, "a name that leads out", UnpackPackage(t.Context(), runner(), gpkg("image.tar", up), t.TempDir()), exit.BadArchive)
	wantCode(t, "a link that leads out", UnpackPackage(t.Context(), runner(), gpkg("image.tar", string(tarball(t, link("image/evil", "../evil")))), t.TempDir()), exit.BadArchive)
	wantCode(t, "no image", UnpackPackage(t.Context(), runner(), gpkg("gpkg-1", ""), t.TempDir()), exit.BadArchive)
	wantCode(t, "no archive", UnpackPackage(t.Context(), runner(), put(t, filepath.Join(t.TempDir(), "x.gpkg.tar"), "text", 0o644), t.TempDir()), exit.BadArchive)
}

func TestDamagedPackages(t *testing.T) {
	data := string(tarball(t, reg("a")))
	whole, err := os.ReadFile(deb(t, "data.tar", data))
	must(t, err)
	for what, text := range map[string]string{
		"empty": "", "no archive": "PK\x03\x04", "only a magic": arMagic, "no size": string(whole[:8]) + fmt.Sprintf("%-58s`\n", "data.tar"),
		"a negative size": string(whole[:8]) + fmt.Sprintf("%-48s%-10d`\n", "data.tar", -60), "cut off": string(whole[:len(whole)-1200]),
		"no end of a header": string(whole[:66]) + "xx" + string(whole[68:]),
	} {
		file := put(t, filepath.Join(t.TempDir(), "x.deb"), text, 0o644)
		wantCode(t, what, UnpackPackage(t.Context(), runner(), file, t.TempDir()), exit.BadArchive)
	}
}

// As gzip does, zeros behind the last stream are ignored, and only zeros.
func TestPaddedGzip(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(tarball(t, reg("a")))
	must(t, err)
	must(t, z.Close())
	if _, err := unpackBytes(t, append(b.Bytes(), make([]byte, 9000)...)); err != nil {
		t.Errorf("padded: %v", err)
	}
	if _, err := unpackBytes(t, append(b.Bytes(), 0, 1)); err == nil {
		t.Error("garbage is accepted")
	}
}

func FuzzDataOfDeb(f *testing.F) {
	f.Add([]byte(arMagic))
	f.Add([]byte(arMagic + fmt.Sprintf("%-48s%-10d`\nabc", "data.tar.xz", 3)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := dataOfDeb(bytes.NewReader(data)); (r == nil) == (err == nil) {
			t.Errorf("dataOfDeb = %v, %v", r, err)
		}
	})
}

// A pipe that nobody writes to, or nobody yet, is waited for as long as the
// caller wants.
func TestPipes(t *testing.T) {
	for name, unpack := range map[string]func(context.Context, string, string) error{
		"p.tar": func(ctx context.Context, file, dir string) error { return Unpack(ctx, runner(), file, nil, dir) },
		"p.deb": func(ctx context.Context, file, dir string) error { return UnpackPackage(ctx, runner(), file, dir) },
	} {
		for _, silent := range []bool{false, true} {
			pipe, dir := filepath.Join(t.TempDir(), name), t.TempDir()
			must(t, syscall.Mkfifo(pipe, 0o600))
			if silent {
				f, err := os.OpenFile(pipe, os.O_RDWR, 0)
				must(t, err)
				defer f.Close()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			ended := make(chan error, 1)
			go func() { ended <- unpack(ctx, pipe, dir) }()
			select {
			case err := <-ended:
				noSeek := silent && name == "p.deb" // which a pipe cannot do
				if err == nil || !noSeek && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s, somebody silent at its other end %t: %v", name, silent, err)
				}
			case <-time.After(time.Minute):
				t.Errorf("%s, somebody silent at its other end %t: it does not end", name, silent)
			}
			cancel()
		}
	}
}
