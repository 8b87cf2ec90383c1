//go:build vm

package vm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scenarios are what VM_SCENARIOS chooses from, in the order in which they
// run by default: two at a time.
var scenarios = []struct {
	name string
	run  func(*testing.T, image)
}{
	{"systemd", testSystemd},
	{"broken", testBroken},
	{"openrc", testOpenRC},
}

// byDefault leaves out what takes longer than a coffee.
var byDefault = []string{"systemd", "broken", "openrc"}

func TestVM(t *testing.T) {
	wanted := byDefault
	if names := strings.Fields(os.Getenv("VM_SCENARIOS")); len(names) > 0 {
		wanted = names
	}
	for _, name := range wanted {
		if !slices.ContainsFunc(scenarios, func(s struct {
			name string
			run  func(*testing.T, image)
		}) bool {
			return s.name == name
		}) {
			t.Fatalf("VM_SCENARIOS: there is no scenario %q", name)
		}
	}
	i := prepare(t)
	i.installOurs(t)
	for _, s := range scenarios {
		if slices.Contains(wanted, s.name) {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t, i)
			})
		}
	}
}

// ours is the directory with the files of our dkms and of the tests, as they
// are laid over the image.
func (i image) ours() string { return filepath.Join(i.dir, "ours") }

// installOurs builds our dkms and installs it as a Debian package would.
func (i image) installOurs(t *testing.T) {
	t.Helper()
	check(t, os.RemoveAll(i.ours()))
	bin := t.TempDir()
	check(t, run("make", "-C", "../..", "BIN="+bin, "all"))
	check(t, run("make", "-C", "../..", "BIN="+bin, "DESTDIR="+i.ours(), "DISTRO=debian",
		"SYSTEMD=/lib/systemd/system", "install"))
	// In the image /lib is a link to /usr/lib, which cp would not follow.
	check(t, run("cp", "-a", filepath.Join(i.ours(), "lib"), filepath.Join(i.ours(), "usr")))
	check(t, os.RemoveAll(filepath.Join(i.ours(), "lib")))
	check(t, run("cp", "-a", "guest/root/.", i.ours()))
	check(t, os.WriteFile(filepath.Join(i.ours(), "etc/dkms/framework.conf"), []byte("modprobe_on_install=\"true\"\n"), 0o644))
	load := filepath.Join(i.ours(), "etc/modules-load.d")
	check(t, os.MkdirAll(load, 0o755))
	check(t, os.WriteFile(filepath.Join(load, "demo.conf"), []byte("dkms_demo\n"), 0o644))
}

// judge says PASS or FAIL to every claim.
func judge(t *testing.T, ok bool, claim string, evidence ...string) {
	t.Helper()
	if ok {
		t.Logf("PASS %s", claim)
		return
	}
	t.Errorf("FAIL %s\n%s", claim, strings.Join(evidence, "\n"))
}
