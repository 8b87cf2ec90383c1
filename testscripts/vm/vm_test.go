//go:build vm

package vm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
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
	{name: "enroll", story: testEnroll},
	{name: "sigenforce", story: testSigEnforce, long: true},
	{name: "secureboot", story: testSecureBoot, long: true},
	{name: "powercut", story: testPowerCut, long: true},
	{name: "guard", story: testGuard, long: true},
	{name: "guard-systemd-boot", story: testGuardSystemdBoot, long: true},
	{name: "guard-cut", story: testGuardCut, long: true},
	{name: "export", story: testExport, long: true},
	{name: "undo", story: testUndo, long: true},
	{name: "image", story: testImage, long: true},
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
// are laid over an image that is booted by that init system.
func (i image) ours(init string) string {
	return filepath.Join(i.dir, "ours-"+filepath.Base(init))
}

// installOurs builds our dkms and installs it as a Debian package would.
func (i image) installOurs(t *testing.T) {
	t.Helper()
	bin := t.TempDir()
	chroot.Check(t, chroot.Run("make", "-C", "../..", "BIN="+bin, "all"))
	for init, service := range map[string][]string{
		systemdInit: {"SYSTEMD=/lib/systemd/system"},
		openrcInit:  {"SYSTEMD=", "OPENRC=/etc/init.d"},
	} {
		to := i.ours(init)
		chroot.Check(t, os.RemoveAll(to))
		chroot.Check(t, chroot.Run("make", append([]string{"-C", "../..", "BIN=" + bin, "DESTDIR=" + to, "DISTRO=debian", "install"}, service...)...))
		// In the image /lib is a link to /usr/lib, which cp would not follow.
		if lib := filepath.Join(to, "lib"); service[0] != "SYSTEMD=" {
			chroot.Check(t, chroot.Run("cp", "-a", lib, filepath.Join(to, "usr")))
			chroot.Check(t, os.RemoveAll(lib))
		}
		chroot.Check(t, chroot.Run("cp", "-a", "guest/root/.", to))
	}
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
