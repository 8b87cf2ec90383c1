//go:build differential

package conf

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDebianPackages reads the dkms.conf of every package of Debian that has
// one and compares each directive with the plain double evaluation.
func TestDebianPackages(t *testing.T) {
	files := debianConfs(t)
	if len(files) < 20 {
		t.Fatalf("only %d packages could be downloaded", len(files))
	}
	r := newReader(t)
	headers, _ := filepath.Glob("/lib/modules/*[0-9]-amd64/build")
	if len(headers) == 0 {
		t.Fatal("no headers of a Debian kernel")
	}
	release := filepath.Base(filepath.Dir(headers[len(headers)-1]))
	sh := r.shell(moduleNames)
	for _, file := range files {
		target := Target{Release: release, Arch: "x86_64", SourceDir: headers[len(headers)-1], ConfigFile: headers[len(headers)-1] + "/.config"}
		vars := r.moduleVars(Ref{Name: "module", Version: "1.0", File: file, Target: target})
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := sh.read(t.Context(), setting{vars: vars, show: []string{filepath.Dir(file), headers[len(headers)-1]}}, once(file, string(text)))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if want := oracle(t, moduleNames, vars, []string{file}); !equalValues(ev.values, want[0]) {
			t.Errorf("%s:\n got %v\nwant %v", file, ev.values, want[0])
		}
	}
	t.Logf("%d packages", len(files))
}

// debianConfs downloads the packages, without installing them, and returns
// their dkms.conf files. What a mirror does not have is left out.
func debianConfs(t *testing.T) []string {
	t.Helper()
	names, err := exec.Command("apt-cache", "search", "--names-only", "--", "-dkms$").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(names)) {
		name, _, _ := strings.Cut(line, " ")
		get := exec.Command("apt-get", "download", "-qq", name)
		get.Dir = dir
		if out, err := get.CombinedOutput(); err != nil {
			t.Logf("%s: %v: %s", name, err, out)
		}
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	for _, deb := range debs {
		if out, err := exec.Command("dpkg-deb", "-x", deb, filepath.Join(dir, "x")).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", deb, err, out)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "x/usr/src/*/dkms.conf"))
	return files
}
