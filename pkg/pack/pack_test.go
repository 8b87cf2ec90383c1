package pack

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// The names are those that dpkg, rpm, pacman and apk accept.
func TestNames(t *testing.T) {
	for _, test := range []struct{ module, version, kernel, arch, deb, rpm, pacman, apk string }{
		{
			"hello", "1.0", "6.1.0-56-amd64", "x86_64", "hello-modules-6.1.0-56-amd64_1.0-1_amd64.deb",
			"hello-modules-6.1.0-56-amd64-1.0-1.x86_64.rpm", "hello-modules-6.1.0-56-amd64-1.0-1-x86_64.pkg.tar.zst",
			"hello-modules-6.1.0-56-amd64-1.0-r1.apk",
		},
		{
			"Foo_Bar", "r12-3~rc1", "6.6.32_1", "armv7l", "foo-bar-modules-6.6.32-1_0+r12-3~rc1-1_armhf.deb",
			"foo-bar-modules-6.6.32-1-r12_3~rc1-1.armv7hl.rpm", "foo-bar-modules-6.6.32-1-r12_3_rc1-1-armv7h.pkg.tar.zst",
			"foo-bar-modules-6.6.32-1-12.3_rc1~fded6898-r1.apk",
		},
		{
			"a", "2:1@x", "6.12-arch1+", "aarch64", "a-modules-6.12-arch1+_2+1+x-1_arm64.deb",
			"a-modules-6.12-arch1+-2_1_x-1.aarch64.rpm", "a-modules-6.12-arch1+-2_1_x-1-aarch64.pkg.tar.zst",
			"a-modules-6.12-arch1+-2.1~7965521a-r1.apk",
		},
	} {
		p := &Package{Module: test.module, Version: test.version, Kernel: test.kernel, Arch: test.arch}
		for format, want := range map[string]string{"deb": test.deb, "rpm": test.rpm, "pacman": test.pacman, "apk": test.apk} {
			if got := FileName(format, p); got != want {
				t.Errorf("FileName(%s, %s %s) = %s; want %s", format, test.module, test.version, got, want)
			}
		}
	}
}

// Every version becomes one that apk accepts. A digest keeps those apart that
// differ in words which are lost.
func TestApkVersions(t *testing.T) {
	for v, want := range map[string]string{
		"1.0": "1.0", "1.0-2": "1.0.2", "2.1a": "2.1a", "5.0_rc3": "5.0_rc3", "5.0-rc3": "5.0_rc3", "5.0rc3.1": "5.0_rc3_p1",
		"1.0~beta2": "1.0_beta2", "rc1": "0_rc1", "main": "0~0d6e4079", "master": "0~fc613b4d", "1.0.g12ab": "1.0.12~47bcc330",
		"v1.2": "1.2~0e4f5bce", "0.1+git20260101.abcdef": "0.1.20260101~85decf1e", "007": "007",
	} {
		got := apk{}.version(v)
		if got != want {
			t.Errorf("version(%s) = %s; want %s", v, got, want)
		}
		if _, err := exec.LookPath("apk"); err != nil {
			continue
		}
		if out, err := exec.Command("apk", "version", "--check", got+apk{}.release()).CombinedOutput(); err != nil {
			t.Errorf("apk does not accept version(%s) = %s: %s", v, got, out)
		}
	}
}

// A package whose files fakeroot has not given to root is not used.
func TestApkOwner(t *testing.T) {
	if _, err := exec.LookPath("/usr/local/bin/apk"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root, and apk of apk-tools 3 in /usr/local/bin")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "files/lib/a.ko")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]string{0: "", 65534: "/lib/a.ko belongs to nobody"} {
		made := filepath.Join(dir, "made.apk")
		if err := os.Chown(file, uid, uid); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("apk", "mkpkg", "--files", filepath.Join(dir, "files"), "--output", made, "--info", "name:a", "--info", "version:1").CombinedOutput()
		if err != nil {
			t.Fatalf("apk mkpkg: %v: %s", err, out)
		}
		got, err := apk{}.contents(t.Context(), system.NewRunner(system.Host{}), made)
		if want == "" && (err != nil || got["/lib/a.ko"] == "") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("contents with owner %d = %v, %v; want %q", uid, got, err, want)
		}
	}
}

// What cannot be quoted in all formats is refused before anything is written.
func TestUnsafeNames(t *testing.T) {
	for _, word := range []string{"$(reboot)", "a'b", `a"b`, "a b", "a\nb", "%{x}", "a;b", "a*", "é"} {
		for _, p := range []*Package{
			{Module: word, Version: "1", Kernel: "6.1", Arch: "x86_64"},
			{Module: "a", Version: word, Kernel: "6.1", Arch: "x86_64"},
			{Module: "a", Version: "1", Kernel: word, Arch: "x86_64"},
			{Module: "a", Version: "1", Kernel: "6.1", Arch: "x86_64", Files: []File{{Path: "/lib/" + word}}},
		} {
			err := Write(t.Context(), nil, "deb", p, t.TempDir()+"/x", t.TempDir(), 0)
			if err == nil || !strings.Contains(err.Error(), "cannot be part of a package") {
				t.Errorf("Write with the name %q = %v; want a refusal", word, err)
			}
		}
	}
}

// What comes from elsewhere, such as the names of signers, stays one line and
// plain text.
func TestHostileWords(t *testing.T) {
	p := &Package{
		Module: "a", Version: "1", Kernel: "6.1", Arch: "x86_64", License: "GPL'; reboot; '", Packager: "x\nDepends: evil",
		Facts: []Fact{{"Signer", "x\nDepends: evil\n%(reboot)"}},
	}
	if text := (deb{}).control(p, 1); strings.Contains(text, "\nDepends: evil") {
		t.Errorf("the control file has a line of the packager:\n%s", text)
	}
	if text := (rpm{}).spec(p); strings.Contains(text, "\nDepends: evil") || !strings.Contains(text, "%%(reboot)") {
		t.Errorf("the spec has a line or a macro of the signer:\n%s", text)
	}
	if text := (pacman{}).pkgbuild(p); !strings.Contains(text, `license=('GPL'\''; reboot; '\''')`) {
		t.Errorf("the PKGBUILD has commands of the license:\n%s", text)
	}
}

// A package that does not hold what was built is not used.
func TestCompare(t *testing.T) {
	p := &Package{Files: []File{{Path: "/a", Data: []byte("x")}}}
	for _, test := range []struct {
		got  map[string]string
		want string
	}{
		{map[string]string{"/a": digest([]byte("x"))}, ""},
		{map[string]string{"/a": digest([]byte("y"))}, "/a in it is not the file that was built"},
		{map[string]string{}, "/a is missing in it"},
		{map[string]string{"/a": digest([]byte("x")), "/b": ""}, "it has 2 files instead of 1"},
	} {
		if err := p.compare(test.got); err == nil && test.want != "" || err != nil && err.Error() != test.want {
			t.Errorf("compare(%v) = %v; want %q", test.got, err, test.want)
		}
	}
}
