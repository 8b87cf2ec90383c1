//go:build bench

package bench

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkms/testscripts/chroot"
)

const (
	installFaster = 3
	upgradeFaster = 2.5
	purgeFaster   = 5
	smallCall     = 50 * time.Millisecond
	driversWanted = 8
	smallModules  = 40
)

// candidates are packages with drivers; the first eight that install in a
// release are taken. Not every one builds for the newest kernel.
var candidates = append(slices.Clone(real), "lime-forensics", "gost-crypto", "vpoll", "jool", "evdi", "xtables-addons")

// TestFull measures on whole kernels of BENCH_SUITES, with some thousand modules,
// beside the dkms of each release: what an admin waits for. The two systems
// differ in nothing but dkms. BENCH_JSON names the file for the figures.
func TestFull(t *testing.T) {
	tab := &table{}
	for _, suite := range strings.Fields(cmp.Or(os.Getenv("BENCH_SUITES"), "bookworm trixie sid")) {
		t.Run(suite, func(t *testing.T) { full(t, tab, suite) })
	}
	fmt.Printf("\n%s\n%v\n", thisMachine(), tab)
	if path := os.Getenv("BENCH_JSON"); path != "" {
		chroot.Check(t, tab.write(path))
	}
}

// thisMachine says what the figures were measured on.
func thisMachine() string {
	model := "unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			model = strings.Trim(name, "\t :\n")
			break
		}
	}
	return fmt.Sprintf("measured on %d processors: %s", cpus(), model)
}

// release is a pair of systems of one release of Debian.
type release struct {
	suite, kernel string
	modules       int // in-tree ones of the kernel
	pair          chroot.Pair
	drivers       []string // packages without -dkms
}

// naming puts before the name of a row which release it is about.
type naming func(format string, args ...any) string

func full(t *testing.T, tab *table, suite string) {
	r := prepareRelease(t, suite)
	name := naming(func(format string, args ...any) string {
		return fmt.Sprintf("%s, %s, %d modules: ", suite, r.kernel, r.modules) + fmt.Sprintf(format, args...)
	})
	r.oneDriver(t, tab, name)
	r.allDrivers(t, tab, name)
	r.byApt(t, tab, name)
	r.small(t, tab, name)
}

// prepareRelease makes the systems, or takes them from the cache, and puts our
// dkms as it is now into one.
func prepareRelease(t *testing.T, suite string) *release {
	chroot.Require(t, "debootstrap", "make", "go")
	cache := filepath.Join(cmp.Or(os.Getenv("BENCH_CACHE"), "/var/tmp/dkms-bench"), suite)
	chroot.Check(t, os.MkdirAll(cache, 0o755))
	chroot.Hold(t, cache)
	r := &release{suite: suite, pair: chroot.Pair{Theirs: filepath.Join(cache, "theirs"), Ours: filepath.Join(cache, "ours")}}
	base := filepath.Join(cache, "base")
	chroot.Check(t, chroot.Once(base, func(dir string) error { return makeBase(dir, suite) }))
	chroot.Check(t, chroot.Once(r.pair.Theirs, func(dir string) error {
		return inCopy(base, dir, `apt-get install -qy dkms`)
	}))
	bin := t.TempDir()
	chroot.Check(t, chroot.Run("make", "-C", "../..", "BIN="+bin, "deb"))
	debs, _ := filepath.Glob(filepath.Join(bin, "dkms_*.deb"))
	chroot.Check(t, os.RemoveAll(r.pair.Ours))
	chroot.Check(t, inCopy(base, r.pair.Ours, `apt-get install -qy "$1"`, debs...))

	kernels, _ := filepath.Glob(filepath.Join(base, "usr/lib/modules/*/modules.dep"))
	if len(kernels) != 1 {
		t.Fatalf("%s has %d kernels; want 1", base, len(kernels))
	}
	r.kernel = filepath.Base(filepath.Dir(kernels[0]))
	index, err := os.ReadFile(kernels[0])
	chroot.Check(t, err)
	r.modules = strings.Count(string(index), "\n")
	r.choose(t)
	return r
}

// makeBase makes a system with a whole kernel and its headers. The packages of
// the drivers and of the kernel of the upgrade are in apt's cache.
func makeBase(dir, suite string) error {
	if err := chroot.DebootstrapSuite(dir, suite, "ca-certificates,kmod,zstd,xz-utils,gcc,libc6-dev,make,patch,dpkg-dev,file,perl"); err != nil {
		return err
	}
	return inRoot(dir, `
echo force-unsafe-io >etc/dpkg/dpkg.cfg.d/unsafe-io
printf 'APT::Install-Recommends "false";\nAPT::Keep-Downloaded-Packages "true";\nDpkg::Use-Pty "false";\nAPT::Sandbox::User "root";\nAcquire::Check-Valid-Until "false";\n' >etc/apt/apt.conf.d/bench
apt-get update -qq
apt-get install -qy linux-image-amd64 linux-headers-amd64
for name; do apt-get install -qy --download-only "$name-dkms" || true; done
apt-get install -qy --download-only linux-image-rt-amd64 linux-headers-rt-amd64`, candidates...)
}

// inCopy makes dir a copy of base, with lines of shell run in it. Files among the
// arguments are put there before. The index of the kernel is made once more, as
// after its installation: the files of a copy are newer than their index.
func inCopy(base, dir, lines string, files ...string) error {
	if err := chroot.Run("cp", "-a", "--reflink=auto", base, dir); err != nil {
		return err
	}
	var there []string
	for _, file := range files {
		there = append(there, "/var/tmp/"+filepath.Base(file))
		if err := chroot.Run("cp", file, filepath.Join(dir, "var/tmp")); err != nil {
			return err
		}
	}
	return inRoot(dir, lines+`
for dep in /usr/lib/modules/*/modules.dep; do dep=${dep%/*}; depmod "${dep##*/}"; done`, there...)
}

// inRoot runs lines of shell in the root directory of a system that does not run.
func inRoot(dir, lines string, args ...string) error {
	const enter = `set -e; mount -t proc proc "$1/proc"; exec chroot "$@"`
	return chroot.Run("unshare", append([]string{"--mount", "sh", "-c", enter, "sh", dir, "sh", "-ec", lines, "sh"}, args...)...)
}

// choose takes the first drivers that install with Debian's own dkms.
func (r *release) choose(t *testing.T) {
	m := bootWhole(t, "theirs", r.pair.Theirs)
	for _, name := range candidates {
		if len(r.drivers) == driversWanted {
			return
		}
		a := m.do(t, request{Argv: []string{"sh", "-c", `apt-get install -qy "$1-dkms" && dkms status -k "$2" | grep -q "^$1.*installed"`, "sh", name, r.kernel}})
		if a.Exit == 0 {
			r.drivers = append(r.drivers, name)
		} else {
			m.do(t, request{Argv: []string{"apt-get", "purge", "-qy", name + "-dkms"}})
		}
	}
	t.Fatalf("%s: of %d packages only %v install", r.suite, len(candidates), r.drivers)
}

// withDrivers boots the two systems with drivers installed.
func (r *release) withDrivers(t *testing.T, drivers ...string) pair {
	p := pair{bootWhole(t, "ours", r.pair.Ours), bootWhole(t, "theirs", r.pair.Theirs)}
	if len(drivers) > 0 {
		p.both(t, installDrivers, drivers...)
	}
	return p
}

const installDrivers = `for name; do shift; set -- "$@" "$name-dkms"; done; apt-get install -qy "$@"`

// forget leaves every driver registered and none built.
const forget = `dkms status | sed -E 's|^([^,/]+)[,/] *([^,:]+).*|\1/\2|' | sort -u | while read -r id; do
	dkms remove "$id" --all && dkms add "$id"
done >/dev/null 2>&1`

// bare is the make that a build ran, without dkms.
func bare(m *machine, built command) *side {
	const dir = "/tmp/bare-build"
	return &side{m: m, argv: []string{"/bin/sh", "-ec", "cd " + dir + "; " + built.line(dir, false)},
		before: fmt.Sprintf("rm -rf %s; cp -a %s %s", dir, built.sources, dir)}
}

// oneDriver splits an install into its make, the index, which is what
// --no-depmod saves, and the rest.
func (r *release) oneDriver(t *testing.T, tab *table, name naming) {
	p := r.withDrivers(t, r.drivers[0])
	built := slices.Collect(maps.Values(commands(t, p.ours)))[0]
	id := strings.Replace(strings.TrimPrefix(built.sources, "/usr/src/"), r.drivers[0]+"-", r.drivers[0]+"/", 1)
	install := func(m *machine, more ...string) *side {
		argv := append([]string{"/usr/sbin/dkms", "install", id, "-k", r.kernel}, more...)
		return &side{m: m, argv: argv, before: forget}
	}
	ours, oursAlone := install(p.ours), install(p.ours, "--no-depmod")
	theirs, theirsAlone := install(p.theirs), install(p.theirs, "--no-depmod")
	compile := bare(p.ours, built)
	turns(t, rounds(5, 1), repeat(ours, 1), repeat(oursAlone, 1), repeat(compile, 1))
	turns(t, rounds(3, 1), repeat(theirs, 1), repeat(theirsAlone, 1))
	made, took := median(compile.took), func(s *side) time.Duration { return median(s.took) }
	tab.faster(name("install %s", id), ours.median(), theirs.median(), installFaster)
	tab.tell(name("of that, make"), seconds(made), seconds(made))
	tab.tell(name("of that, the index"), seconds(max(0, took(ours)-took(oursAlone))), seconds(max(0, took(theirs)-took(theirsAlone))))
	tab.tell(name("of that, the rest"), seconds(max(0, took(oursAlone)-made)), seconds(max(0, took(theirsAlone)-made)))
}

// allDrivers measures what a hook or the boot does for a kernel that has none
// of the drivers.
func (r *release) allDrivers(t *testing.T, tab *table, name naming) {
	p := r.withDrivers(t, r.drivers...)
	argv := []string{"/usr/sbin/dkms", "autoinstall", "-k", r.kernel}
	ours, theirs := &side{m: p.ours, argv: argv, before: forget}, &side{m: p.theirs, argv: argv, before: forget}
	turns(t, rounds(3, 1), repeat(ours, 1))
	turns(t, 1, repeat(theirs, 1))
	tab.faster(name("autoinstall of %d drivers", len(r.drivers)), ours.median(), theirs.median(), 1)
}

// byApt measures what apt takes as a whole. Each run has systems of its own,
// since there is no way back.
func (r *release) byApt(t *testing.T, tab *table, name naming) {
	upgrade := []string{"/usr/bin/apt-get", "install", "-qy", "linux-image-rt-amd64", "linux-headers-rt-amd64"}
	purge := []string{"/usr/bin/apt-get", "purge", "-qy"}
	for _, driver := range r.drivers {
		purge = append(purge, driver+"-dkms")
	}
	var sides [2][3]*side // ours and theirs: upgrade, upgrade without drivers, purge
	var unguarded side    // ours, without the rehearsal that theirs does not have
	for range rounds(2, 1) {
		p := r.withDrivers(t, r.drivers...)
		off := bootWhole(t, "ours, no guard", r.pair.Ours)
		off.sh(t, `echo upgrade_guard=off >/etc/dkms/framework.conf.d/guard.conf`)
		off.sh(t, installDrivers, r.drivers...)
		s := &side{m: off, argv: upgrade}
		s.once(t)
		unguarded.took = append(unguarded.took, s.took...)
		without := pair{bootWhole(t, "ours, no drivers", r.pair.Ours), bootWhole(t, "theirs, no drivers", r.pair.Theirs)}
		for i, m := range [][2]*machine{{p.ours, without.ours}, {p.theirs, without.theirs}} {
			for j, s := range []*side{{m: m[0], argv: upgrade}, {m: m[1], argv: upgrade}, {m: m[0], argv: purge}} {
				s.once(t)
				if sides[i][j] == nil {
					sides[i][j] = &side{}
				}
				sides[i][j].took = append(sides[i][j].took, s.took...)
			}
		}
		for _, m := range []*machine{p.ours, p.theirs} {
			if left := m.sh(t, `dkms status`); strings.Contains(left, r.drivers[0]) {
				t.Errorf("%s: after the purge: %s", m.name, left)
			}
		}
	}
	tab.faster(name("a kernel by apt with %d drivers", len(r.drivers)), sides[0][0].median(), sides[1][0].median(), upgradeFaster)
	tab.faster(name("the same with upgrade_guard=off"), unguarded.median(), sides[1][0].median(), upgradeFaster)
	tab.tell(name("the same kernel without drivers"), sides[0][1].median(), sides[1][1].median())
	tab.faster(name("purge of %d drivers by apt", len(r.drivers)), sides[0][2].median(), sides[1][2].median(), purgeFaster)
}

// small measures a fleet of small calls: what each costs beside its make.
func (r *release) small(t *testing.T, tab *table, name naming) {
	p := r.withDrivers(t)
	const lay = `for i in $(seq "$1"); do
	cp -a /usr/src/hello-1.0 /usr/src/h$i-1.0
	sed -i "s/\"hello\"/\"h$i\"/" /usr/src/h$i-1.0/dkms.conf
	sed -i "s/hello/h$i/" /usr/src/h$i-1.0/Makefile
	mv /usr/src/h$i-1.0/hello.c /usr/src/h$i-1.0/h$i.c
	dkms add h$i/1.0
done`
	var install, beside, remove [2]figure
	var compile *side // in turns with the installs, as other work on the machine comes and goes
	for i, m := range []*machine{p.ours, p.theirs} {
		count := smallModules
		if m == p.theirs {
			count = rounds(10, 5)
		}
		m.sh(t, layHello)
		m.sh(t, lay, fmt.Sprint(count))
		each := func(verb string, after func()) []time.Duration {
			s := &side{m: m}
			for n := range count {
				s.argv = []string{"/usr/sbin/dkms", verb, fmt.Sprintf("h%d/1.0", n+1), "-k", r.kernel}
				s.once(t)
				after()
			}
			return s.took
		}
		var makes []time.Duration
		installs := each("install", func() {
			if compile == nil {
				compile = bare(p.ours, commands(t, p.ours)["h1-"+r.kernel])
				compile.once(t) // and files are in memory by now
			}
			compile.once(t)
			makes = append(makes, compile.took[len(compile.took)-1])
		})
		var rest []time.Duration
		for n, took := range installs {
			rest = append(rest, took-makes[n])
		}
		install[i], beside[i] = seconds(median(installs)), seconds(median(rest))
		remove[i] = seconds(median(each("remove", func() {})))
	}
	tab.faster(name("one of %d small installs", smallModules), install[0], install[1], installFaster)
	tab.atMost(name("that, beside its make"), beside[0], beside[1], seconds(smallCall), "")
	tab.atMost(name("one of %d small removes", smallModules), remove[0], remove[1], seconds(smallCall), "")
}
