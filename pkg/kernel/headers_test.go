package kernel

import (
	"os"
	"path/filepath"
	"strings"
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

	// The digest on record is taken while the files are the same, and only then.
	note := filepath.Join(dir, "note")
	recorded := func() *Kernel {
		return New(system.Root{Dir: dir}, "6.1", "x86_64", Options{Digest: note})
	}
	k := recorded()
	_, digest = look()
	if err := k.KeepDigest(); err != nil || recorded().HeadersDigest() != digest {
		t.Errorf("KeepDigest: %v; digest %s, want %s", err, recorded().HeadersDigest(), digest)
	}
	text, _ := os.ReadFile(note)
	other := strings.Repeat("0", len(digest))
	if err := os.WriteFile(note, []byte(strings.Replace(string(text), digest, other, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := recorded().HeadersDigest(); got != other {
		t.Errorf("the digest is %s; want that on record", got)
	}
	install("#1", "two", 500)
	if got := recorded().HeadersDigest(); got != digest {
		t.Errorf("the digest of files with other times is %s; want %s", got, digest)
	}
	if err := os.WriteFile(note, []byte("damaged"), 0o644); err != nil || recorded().HeadersDigest() != digest {
		t.Errorf("with a damaged record, the digest is %s; want %s", recorded().HeadersDigest(), digest)
	}
}
