//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkms/testscripts/chroot"
)

// scene is a machine on which everything is installed.
type scene struct{ modules, kernels int }

func (s scene) String() string { return fmt.Sprintf("%dx%d", s.modules, s.kernels) }

// The figures of the original 3.4.3 on another machine, for [scene]s of
// installed modules: how long it took with nothing to do, and for a status.
var (
	idleBefore   = map[scene]time.Duration{{20, 1}: 94 * time.Millisecond, {100, 1}: 329 * time.Millisecond, {20, 5}: 617 * time.Millisecond}
	statusBefore = map[scene]time.Duration{{20, 1}: 2 * time.Second, {100, 1}: 11 * time.Second}
)

const (
	idleFaster   = 25
	statusFaster = 300
	checkLimit   = 50 * time.Millisecond
	idleOverhead = 3 // of a program that only asks for the links
)

// layScene makes $1 packages and $2 kernels; the original wants the
// configuration of a kernel under another name.
const layScene = `
for k in $(seq "$2"); do
	sh /tmp/fakekernel/install.sh / 6.9.$k-fake 2>/dev/null
	cp /usr/src/linux-headers-6.9.$k-fake/include/config/auto.conf /usr/src/linux-headers-6.9.$k-fake/.config
done
for n in $(seq "$1"); do
	name=$(printf 'mod%03d' "$n") dir=$(printf '/usr/src/mod%03d-1.0' "$n")
	mkdir "$dir"
	printf 'PACKAGE_NAME="%s"\nPACKAGE_VERSION="1.0"\nDEST_MODULE_LOCATION[0]="/kernel/extra"\nAUTOINSTALL="yes"\n' "$name" >"$dir/dkms.conf"
	echo "obj-m := $name.o" >"$dir/Makefile"
	printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_VERSION("1.0");\nstatic int start(void) { return %d; }\nmodule_init(start);\n' "$n" >"$dir/$name.c"
done`

const installAll = `
for dir in /usr/src/mod*; do name=${dir##*/}; dkms add "${name%-*}/${name##*-}"; done
for k in $(seq "$1"); do dkms autoinstall -k 6.9.$k-fake; done`

// idle measures what is asked at every boot and by every admin, where nothing
// is to be done.
func idle(t *testing.T, tab *table, c chroot.Pair, s scene) {
	p := bootPair(t, c)
	p.both(t, layScene, fmt.Sprint(s.modules), fmt.Sprint(s.kernels))
	p.ours.sh(t, installAll, fmt.Sprint(s.kernels))
	p.hand(t)
	if n := strings.Count(p.theirs.must(t, "dkms", "status"), ": installed\n"); n != s.modules*s.kernels {
		t.Fatalf("%v: theirs has %d modules installed", s, n)
	}
	bare := &side{m: p.ours, argv: []string{"/tmp/bare", "/var/lib/dkms"}}
	ours, theirs := autoinstall(p, s.kernels)
	turns(t, 3, repeat(ours, 9), repeat(bare, 9), repeat(theirs, 1))
	most := seconds(idleBefore[s] / idleFaster)
	tab.atMost(fmt.Sprintf("autoinstall %v, nothing to do", s), ours.median(), theirs.median(), most, fmt.Sprintf(" (3.4.3 / %d)", idleFaster))
	tab.within(fmt.Sprintf("autoinstall %v, against asking for the links", s), ours.median(), bare.median(), idleOverhead)
	tab.atMost(fmt.Sprintf("autoinstall %v, programs started", s), count(p.ours.programs(t, ours.argv...)), count(p.theirs.programs(t, theirs.argv...)), count(0), "")
	tab.exact()

	ours, theirs = &side{m: p.ours, argv: []string{"/usr/sbin/dkms", "status"}}, &side{m: p.theirs, argv: []string{"/usr/sbin/dkms", "status"}}
	turns(t, rounds(2, 1), repeat(ours, 13), repeat(theirs, 1))
	name := fmt.Sprintf("status %v", s)
	if before, known := statusBefore[s]; known {
		tab.atMost(name, ours.median(), theirs.median(), seconds(before/statusFaster), fmt.Sprintf(" (3.4.3 / %d)", statusFaster))
	} else {
		tab.faster(name, ours.median(), theirs.median(), statusFaster)
	}
	answers(t, tab, p, s)
}

// autoinstall is the command for every kernel: ours takes them all in one run,
// theirs has to be called for each.
func autoinstall(p pair, kernels int) (ours, theirs *side) {
	ours, theirs = &side{m: p.ours}, &side{m: p.theirs}
	if kernels == 1 {
		ours.argv = []string{"/usr/sbin/dkms", "autoinstall", "-k", "6.9.1-fake"}
		theirs.argv = ours.argv
		return ours, theirs
	}
	ours.argv = []string{"/usr/sbin/dkms", "autoinstall"}
	theirs.argv = []string{"/bin/sh", "-ec", `for k in /lib/modules/*; do dkms autoinstall -k "${k##*/}"; done`}
	return ours, theirs
}

// originals measures the first day with ours: status and check of what theirs
// has built, which has no manifests.
func originals(t *testing.T, tab *table, c chroot.Pair, s scene) {
	p := bootPair(t, c)
	p.both(t, layScene+`
for conf in /usr/src/mod*/dkms.conf; do echo 'BUILD_EXCLUSIVE_KERNEL="^([4-9]\.|[1-9][0-9]\.)"' >>"$conf"; done`, fmt.Sprint(s.modules), fmt.Sprint(s.kernels))
	p.theirs.sh(t, installAll, fmt.Sprint(s.kernels))
	pair{p.theirs, p.ours}.hand(t)
	status := []string{"/usr/sbin/dkms", "status"}
	if n := strings.Count(p.ours.must(t, status...), ": installed\n"); n != s.modules*s.kernels {
		t.Fatalf("%v: ours finds %d modules of theirs installed", s, n)
	}
	ours, theirs := &side{m: p.ours, argv: status}, &side{m: p.theirs, argv: status}
	turns(t, rounds(2, 1), repeat(ours, 13), repeat(theirs, 1))
	tab.faster(fmt.Sprintf("status %v, built by theirs", s), ours.median(), theirs.median(), statusFaster)
	tab.atMost(fmt.Sprintf("status %v, built by theirs, programs started", s), count(p.ours.programs(t, status...)), figure{}, count(0), "")
	tab.exact()
	check := []string{"/usr/sbin/dkms", "check"}
	ours = &side{m: p.ours, argv: check, exit: p.ours.do(t, request{Argv: check}).Exit}
	turns(t, 1, repeat(ours, 13))
	tab.atMost(fmt.Sprintf("check %v, built by theirs", s), ours.median(), figure{}, seconds(checkLimit), "")
}

// answers compares what status says, also where built and installed modules
// differ: one installed file is another, and one is gone.
func answers(t *testing.T, tab *table, p pair, s scene) {
	p.both(t, `
cd /lib/modules/6.9.1-fake/updates/dkms
cp mod002.ko mod001.ko
rm mod003.ko`)
	theirs := strings.ReplaceAll(p.theirs.must(t, "dkms", "status"),
		"(WARNING! Diff between built and installed module!)", "(Differences between built and installed modules)")
	ours := p.ours.must(t, "dkms", "status")
	differ := 0
	want := strings.Split(theirs, "\n")
	for i, line := range strings.Split(ours, "\n") {
		if i >= len(want) || line != want[i] {
			t.Logf("%v: status line %d: %q; theirs %q", s, i+1, line, want[min(i, len(want)-1)])
			differ++
		}
	}
	if strings.Count(ours, "Differences") != 2 {
		t.Errorf("%v: status does not tell of what was damaged:\n%s", s, ours)
	}
	tab.atMost(fmt.Sprintf("status %v, lines that differ", s), count(differ), figure{}, count(0), "")
	tab.exact()
}

// hand gives theirs the state that ours has made.
func (p pair) hand(t testing.TB) {
	t.Helper()
	for _, dir := range []string{"var/lib/dkms", "usr/lib/modules"} {
		to := filepath.Join(p.theirs.root, dir)
		entries, err := os.ReadDir(to)
		chroot.Check(t, err)
		for _, e := range entries {
			chroot.Check(t, os.RemoveAll(filepath.Join(to, e.Name())))
		}
		chroot.Check(t, chroot.Run("cp", "-a", filepath.Join(p.ours.root, dir)+"/.", to))
	}
}
