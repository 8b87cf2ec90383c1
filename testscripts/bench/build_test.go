//go:build bench

package bench

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
)

const (
	buildOverhead    = 1.03
	parallelOverhead = 1.05
	parallelFaster   = 1.5
	memoryLimit      = 40 << 20
)

// real are packages of Debian, small to medium: with their sources as Debian
// ships them.
var real = []string{
	"acpi-call", "bbswitch", "ddcci", "digimend", "dm-writeboost", "nat-rtsp", "tp-smapi", "v4l2loopback",
}

// download fetches the packages and returns the directory of their sources.
func download(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range real {
		chroot.Check(t, chroot.Run("sh", "-c", `cd "$0" && apt-get download -qq "$1-dkms"`, dir, name))
	}
	chroot.Check(t, chroot.Run("sh", "-c", `cd "$0" && for deb in *.deb; do dpkg-deb -x "$deb" .; done`, dir))
	return filepath.Join(dir, "usr/src")
}

// realKernels are the kernels of Debian whose headers are installed, the plain
// one first.
func realKernels(t *testing.T) []string {
	var list []string
	for _, flavour := range []string{"amd64", "cloud-amd64", "rt-amd64"} {
		found, _ := filepath.Glob("/usr/src/linux-headers-*[0-9]-" + flavour)
		chroot.Need(t, len(found) > 0, "linux-headers-"+flavour+" is not installed")
		release := strings.TrimPrefix(found[len(found)-1], "/usr/src/linux-headers-")
		list = append(list, release)
	}
	return list
}

// layKernel gives kernel $1 a module directory.
const layKernel = `
dir=/usr/lib/modules/$1
mkdir -p "$dir"
: >"$dir/modules.order"
: >"$dir/modules.builtin"
ln -s "/usr/src/linux-headers-$1" "$dir/build"
depmod "$1" 2>/dev/null`

const layHello = `
mkdir /usr/src/hello-1.0
cd /usr/src/hello-1.0
printf 'PACKAGE_NAME="hello"\nPACKAGE_VERSION="1.0"\nDEST_MODULE_LOCATION[0]="/extra"\nAUTOINSTALL="yes"\n' >dkms.conf
echo 'obj-m := hello.o' >Makefile
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nstatic int __init start(void) { return 0; }\nmodule_init(start);\nstatic void __exit stop(void) {}\nmodule_exit(stop);\n' >hello.c`

// keep puts what there is aside, and restore brings it back.
const (
	keep    = `mkdir /tmp/kept; cp -a /var/lib/dkms /usr/lib/modules /tmp/kept`
	restore = `find /var/lib/dkms /usr/lib/modules -mindepth 1 -maxdepth 1 -exec rm -rf {} +
cp -a /tmp/kept/dkms/. /var/lib/dkms; cp -a /tmp/kept/modules/. /usr/lib/modules`
)

// workshop boots two machines with the sources and kernels, everything
// registered and nothing built.
func workshop(t *testing.T, c chroot.Pair, sources string, kernels []string) pair {
	p := bootPair(t, c)
	for _, m := range []*machine{p.ours, p.theirs} {
		for _, k := range kernels {
			m.sh(t, layKernel, k)
		}
		chroot.Check(t, chroot.Run("cp", "-a", sources+"/.", filepath.Join(m.root, "usr/src")))
		m.sh(t, layHello)
	}
	return p
}

// one measures a build of one module, against the bare make that it runs.
func one(t *testing.T, tab *table, c chroot.Pair, sources, kernel, name, version string) {
	p := workshop(t, c, sources, []string{kernel})
	p.both(t, `dkms add "$1"; `+keep, name+"/"+version)
	argv := []string{"/usr/sbin/dkms", "build", name + "/" + version, "-k", kernel}
	ours, theirs := &side{m: p.ours, argv: argv, before: restore}, &side{m: p.theirs, argv: argv, before: restore}
	p.ours.sh(t, restore)
	isolated(t, p.ours.do(t, request{Argv: argv, Keep: true})) // and files are in memory by now
	compile := bare(p.ours, slices.Collect(maps.Values(commands(t, p.ours)))[0])
	turns(t, rounds(5, 3), repeat(ours, 1), repeat(compile, 1))
	turns(t, rounds(2, 1), repeat(theirs, 1))
	tab.against(fmt.Sprintf("build %s, against its make", name), ours, compile, buildOverhead)
	tab.faster(fmt.Sprintf("build %s", name), ours.median(), theirs.median(), 1)
}

// many measures autoinstall of the packages of [real] for the kernels.
func many(t *testing.T, tab *table, c chroot.Pair, sources string, kernels []string, n int) {
	p := workshop(t, c, sources, kernels)
	const register = `for dir in /usr/src/*-[0-9]*; do
	case $dir in (*/linux-*|*/hello-*) continue;; esac
	dkms add "$(bash -c '. "$0" >/dev/null 2>&1; echo "$PACKAGE_NAME/$PACKAGE_VERSION"' "$dir/dkms.conf")"
done; ` + keep
	p.both(t, register)
	ours := &side{m: p.ours, argv: []string{"/usr/sbin/dkms", "autoinstall"}, before: restore}
	// 3.0.10 calls it a failure (11) that a module is not meant for a kernel.
	const each = `for k in /lib/modules/*; do dkms autoinstall -k "${k##*/}" || [ $? = 11 ]; done`
	theirs := &side{m: p.theirs, argv: []string{"/bin/sh", "-ec", each}, before: restore}
	p.ours.sh(t, restore)
	first := p.ours.do(t, request{Argv: ours.argv, Keep: true, Memory: true})
	isolated(t, first)
	built := commands(t, p.ours)
	bare := &side{m: p.ours, argv: []string{"make", "--silent", "-C", "/tmp/bare-builds", fmt.Sprintf("-j%d", cpus())}, before: layBuilds(built)}
	turns(t, n, repeat(ours, 1), repeat(bare, 1))
	turns(t, rounds(n-1, 1), repeat(theirs, 1))
	name := fmt.Sprintf("autoinstall of %d modules, kernels: %d", len(real), len(kernels))
	tab.against(fmt.Sprintf("%s, against %d makes", name, len(built)), ours, bare, parallelOverhead)
	tab.faster(name, ours.median(), theirs.median(), parallelFaster)
	tab.atMost(name+", memory of dkms", megabytes(first.Memory), figure{}, megabytes(memoryLimit), "")
	tab.exact()
	if a := p.theirs.must(t, "dkms", "status"); strings.Count(a, "installed") != len(built) {
		t.Errorf("%s: theirs has not built the same:\n%s", name, a)
	}
}

// isolated ends the test if a build has failed, or is cheap because it is not
// isolated.
func isolated(t *testing.T, a reply) {
	t.Helper()
	if a.Exit != 0 || strings.Contains(a.Stderr, "not isolated") {
		t.Fatalf("a build that should be isolated: exit status %d\n%s", a.Exit, a.Stderr)
	}
}

// command is the make that a build has run.
type command struct{ text, sources, scratch string }

var jobsOption = regexp.MustCompile(`make -j[0-9]*`)

// line is the command for another directory; shared leaves the number of jobs
// to the make that calls.
func (c command) line(dir string, shared bool) string {
	text := strings.ReplaceAll(c.text, c.scratch, dir)
	if shared {
		text = jobsOption.ReplaceAllString(text, "make")
	}
	return text
}

// commands are the makes of all builds that a machine holds, from their logs.
func commands(t *testing.T, m *machine) map[string]command {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(m.root, "var/lib/dkms/*/*/*/*/log/make.log"))
	list := map[string]command{}
	for _, log := range logs {
		data, err := os.ReadFile(log)
		chroot.Check(t, err)
		parts := strings.Split(strings.TrimPrefix(log, filepath.Join(m.root, "var/lib/dkms")+"/"), "/")
		name, version, kernel := parts[0], parts[1], parts[2]
		for line := range strings.Lines(string(data)) {
			text, ok := strings.CutPrefix(line, "# command: ")
			if ok && strings.HasPrefix(text, "make ") && !strings.HasSuffix(text, " clean\n") {
				list[name+"-"+kernel] = command{
					strings.TrimSpace(text), fmt.Sprintf("/usr/src/%s-%s", name, version), fmt.Sprintf("/var/lib/dkms/%s/%s/build", name, version),
				}
				break
			}
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s: no log of a build names its make", m.name)
	}
	return list
}

// layBuilds is shell that lays down a directory for every build and a makefile
// that runs them all under one jobserver.
func layBuilds(list map[string]command) string {
	var b strings.Builder
	b.WriteString("rm -rf /tmp/bare-builds; mkdir /tmp/bare-builds\n")
	makefile := "all:"
	for _, name := range slices.Sorted(maps.Keys(list)) {
		dir := "/tmp/bare-builds/" + name
		fmt.Fprintf(&b, "cp -a %s %s\n", list[name].sources, dir)
		makefile += " " + name + ".built"
	}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		dir := "/tmp/bare-builds/" + name
		makefile += fmt.Sprintf("\n%s.built:\n\t+@cd %s && %s >make.log 2>&1", name, dir, strings.ReplaceAll(list[name].line(dir, true), "$", "$$"))
	}
	fmt.Fprintf(&b, "cat >/tmp/bare-builds/Makefile <<'END'\n%s\nEND\n", makefile)
	return b.String()
}
