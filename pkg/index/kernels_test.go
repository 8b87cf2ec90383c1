//go:build index

package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/testscripts/chroot"
)

// suites are the releases of Debian whose kernels and depmods are taken.
var suites = []string{"bullseye", "bookworm", "trixie", "sid"}

// fetch downloads the modules of a release's kernel into a chroot of it, and
// has its depmod make the index. The kernel itself is not installed.
const fetch = `
cd /tmp && chmod 1777 . && apt-get update -qq || true
image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1)
release=${image#linux-image-}
apt-get download -q $image linux-headers-$release
for part in modules base binary; do
	if apt-cache show linux-$part-$release >/dev/null 2>&1; then apt-get download -q linux-$part-$release; fi
done
mkdir x
for deb in *.deb; do
	case $deb in
	linux-headers*) dpkg-deb --fsys-tarfile $deb | tar -C x -x --wildcards '*/Module.symvers' ;;
	*) dpkg-deb -x $deb x ;;
	esac
done
headers=/usr/src/linux-headers-$release
mkdir -p /lib/modules $headers
for modules in x/lib/modules/$release x/usr/lib/modules/$release; do
	if [ -d $modules ]; then cp -a $modules /lib/modules/; fi
done
rm -f /lib/modules/$release/build /lib/modules/$release/source
mv x$headers/Module.symvers $headers/
rm -r x *.deb
apt-get clean
depmod -a $release`

// newMachine is a machine of the kernel of a release of Debian. Its tree is in
// memory, a copy of the chroot's.
func newMachine(t testing.TB, suite string) *machine {
	t.Helper()
	chroot.Require(t, "debootstrap", "chroot", "xz", "zstd")
	cache := "/var/tmp/dkms-index"
	root, lock := filepath.Join(cache, suite), filepath.Join(cache, suite+".lock")
	check(t, os.MkdirAll(lock, 0o755))
	chroot.Hold(t, lock)
	check(t, chroot.Once(root, func(dir string) error {
		if err := chroot.DebootstrapSuite(dir, suite, "kmod,xz-utils,zstd,gzip"); err != nil {
			return err
		}
		return chroot.Run("chroot", dir, "sh", "-ec", fetch)
	}))
	releases, err := os.ReadDir(filepath.Join(root, "lib/modules"))
	check(t, err)
	m := &machine{root: root, work: "/var/tmp/index", release: releases[0].Name(), rand: rand.New(rand.NewPCG(1, 2))}
	check(t, os.MkdirAll(m.base(""), 0o755))
	check(t, unix.Mount("tmpfs", m.base(""), "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(m.base(""), unix.MNT_DETACH) })
	m.tree.Dir = filepath.Join(m.base("ours"), "lib/modules", m.release)
	check(t, os.MkdirAll(filepath.Dir(m.tree.Dir), 0o755))
	check(t, chroot.Run("cp", "-a", filepath.Join(root, "lib/modules", m.release), m.tree.Dir))
	m.tree.Symvers = filepath.Join(root, "usr/src/linux-headers-"+m.release, "Module.symvers")
	m.tree.Config = []string{filepath.Join(root, "etc/depmod.d"), filepath.Join(root, "lib/depmod.d")}
	m.prepare(t)
	return m
}

// TestKernels is [TestUpdateIsDepmods] on whole kernels. On those whose modules
// are compressed most sequences are on decompressed ones, as depmod takes five
// times as long there.
func TestKernels(t *testing.T) {
	sequences := 100
	if n, err := strconv.Atoi(os.Getenv("INDEX_SEQUENCES")); err == nil {
		sequences = n
	}
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			m := newMachine(t, suite)
			for range min(sequences, 3) {
				m.sequence(t, 1+m.rand.IntN(3))
			}
			m.report(t)
			m.decompress(t)
			for range sequences - min(sequences, 3) {
				m.sequence(t, 1+m.rand.IntN(3))
			}
			m.report(t)
			m.modprobe(t)
		})
	}
}

// decompress makes plain files of all modules, where they are none, and starts
// from depmod's index of these.
func (m *machine) decompress(t testing.TB) {
	t.Helper()
	if !strings.HasSuffix(m.intree[0], ".xz") {
		return
	}
	for _, dir := range []string{m.tree.Dir, m.aside} {
		check(t, chroot.Run("sh", "-c", `find "$0" -name '*.ko.xz' -print0 | xargs -0 -r -n 100 xz -d`, dir))
	}
	for i, file := range m.intree {
		m.intree[i] = strings.TrimSuffix(file, ".xz")
	}
	m.depmod(t, "ours")
	m.tally = tally{reasons: map[string]int{}, sequences: m.tally.sequences}
}

// modprobe has the machine's modprobe read both indexes: all of it, and how
// every module and every alias of a module is loaded.
func (m *machine) modprobe(t testing.TB) {
	t.Helper()
	m.depmod(t, "judge")
	old, err := m.tree.load()
	check(t, err)
	var names []string
	for _, e := range old.modules {
		names = append(names, e.name)
	}
	for _, a := range old.aliases {
		if !strings.ContainsAny(a.key, "*?[") {
			names = append(names, a.key)
		}
	}
	for _, args := range [][]string{{"-c"}, append([]string{"-a", "-D"}, names...)} {
		said := map[string]string{}
		for _, name := range []string{"ours", "judge"} {
			base := filepath.Join(m.work, name)
			argv := append([]string{m.root, "modprobe", "-d", base, "-S", m.release}, args...)
			out, _ := exec.Command("chroot", argv...).Output() // it fails for what only the kernel has
			said[name] = strings.ReplaceAll(string(out), base+"/", "/")
		}
		if said["ours"] != said["judge"] || len(said["ours"]) < 1000 {
			t.Errorf("modprobe %.40v says %d bytes of ours and %d of depmod's", args, len(said["ours"]), len(said["judge"]))
		}
		fmt.Printf("%v: modprobe %s of %d names: %d bytes alike\n", m, args[len(args[:min(2, len(args))])-1], len(names), len(said["ours"]))
	}
}
