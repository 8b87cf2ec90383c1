//go:build vm

package vm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scenario is a machine's story.
type scenario struct {
	name  string
	story func(*testing.T, image)
	long  bool // only told when VM_SCENARIOS names it
}

// scenarios are what VM_SCENARIOS chooses from, separated by blanks.
var scenarios = []scenario{
	{name: "systemd", story: testSystemd},
	{name: "broken", story: testBroken},
	{name: "openrc", story: testOpenRC},
	{name: "sigenforce", story: testSigEnforce, long: true},
	{name: "powercut", story: testPowerCut, long: true},
}

func TestVM(t *testing.T) {
	told := chosen(t, strings.Fields(os.Getenv("VM_SCENARIOS")))
	i := prepare(t)
	i.installOurs(t)
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range told {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.story(t, i)
			})
		}
	})
}

// chosen lists the scenarios of these names, or those that are not long.
func chosen(t *testing.T, names []string) []scenario {
	t.Helper()
	var list []scenario
	for _, s := range scenarios {
		if slices.Contains(names, s.name) || len(names) == 0 && !s.long {
			list = append(list, s)
		}
	}
	if len(names) > 0 && len(list) != len(names) {
		t.Fatalf("VM_SCENARIOS=%q names something else than a scenario", names)
	}
	return list
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
