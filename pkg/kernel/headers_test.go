package kernel

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"dkms/pkg/system"
)

// TestHeadersAgain lays down a kernel's headers, those that it shares apart,
// and installs them again.
func TestHeadersAgain(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "lib/modules/6.1")
	build, shared := filepath.Join(dir, "usr/src/build"), filepath.Join(dir, "usr/src/[shared]")
	write := func(path, text string, at int64) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(at, 0)
		for _, p := range []string{path, filepath.Dir(path)} {
			if err := os.Chtimes(p, when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	install := func(version, header string, at int64) {
		write(filepath.Join(build, "include/generated/utsversion.h"), version, at)
		write(filepath.Join(build, "arch/x86/include/generated/asm/x.h"), "x", at)
		write(filepath.Join(shared, "include/linux/module.h"), header, at)
	}
	if err := os.MkdirAll(module, 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"build": build, "source": shared} {
		if err := os.Symlink(target, filepath.Join(module, link)); err != nil {
			t.Fatal(err)
		}
	}
	look := func() (int64, string) {
		k := New(system.Root{Dir: dir}, "6.1", "x86_64", Options{})
		return k.HeadersMark(), k.HeadersDigest()
	}
	if mark, _ := look(); mark != 0 {
		t.Errorf("the mark of no headers is %d", mark)
	}
	install("#1", "one", 100)
	mark, digest := look()
	aside := New(system.Root{Dir: t.TempDir()}, "6.1", "x86_64", Options{Headers: build, Around: dir})
	if got := aside.HeadersDigest(); got != digest {
		t.Errorf("the digest of the same headers, unpacked aside, is %s; want %s", got, digest)
	}
	for _, test := range []struct {
		what            string
		version, header string
		at              int64
		mark, digest    bool // that they are the same
	}{
		{"nothing", "#1", "one", 100, true, true},
		{"the same bytes", "#1", "one", 200, false, true},
		{"another build of the kernel", "#2", "one", 300, false, false},
		{"a header that is shared", "#1", "two", 400, false, false},
	} {
		install(test.version, test.header, test.at)
		m, d := look()
		if (m == mark) != test.mark || (d == digest) != test.digest {
			t.Errorf("%s: mark %v, digest %v; want the same: %v, %v", test.what, m == mark, d == digest, test.mark, test.digest)
		}
	}
}
