//go:build vm

package vm

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
)

// layout is part of the name of the cache: another set of packages is another
// cache.
const layout = "3"

// flavours are the kernels of the image; the first one is booted first.
var flavours = []string{"amd64", "cloud-amd64"}

// basePackages are what a machine that builds modules has.
const basePackages = "systemd,udev,kmod,gcc,make,patch,binutils,xz-utils,zstd,procps,openssl,mokutil,busybox-static,rpm,erofs-utils," +
	"linux-headers-amd64,linux-headers-cloud-amd64"

// otherInit is the second init system; debootstrap cannot choose between
// alternatives, apt can.
var otherInit = []string{"openrc", "sysvinit-core", "initscripts"}

// drivers are the directories of kernel/drivers that stay in the image.
var drivers = []string{"virtio", "block", "char"}

// image is a Debian that is not booted yet.
type image struct {
	dir      string   // the files below are in it, and the kernels' files
	tree     string   // the system as a directory, never changed by a test
	disk     string   // and as an ext4 file system
	releases []string // as flavours
}

// prepare makes the image or takes it from the cache, which is held until the
// test ends.
func prepare(t *testing.T) image {
	t.Helper()
	chroot.Require(t, "debootstrap", "chroot", "dpkg-deb", "depmod", "modprobe", "mke2fs", "xz", "lz4", "tar", "make", "go", qemu)
	suite := cmp.Or(os.Getenv("VM_SUITE"), "bookworm")
	cache := cmp.Or(os.Getenv("VM_CACHE"), "/var/tmp/dkms-vm")
	i := image{dir: filepath.Join(cache, "v"+layout+strings.TrimSuffix("-"+suite, "-bookworm"))}
	i.tree, i.disk = filepath.Join(i.dir, "tree"), filepath.Join(i.dir, "disk.ext4")
	chroot.Check(t, os.MkdirAll(i.dir, 0o755))
	chroot.Hold(t, i.dir)
	chroot.Check(t, chroot.Once(i.tree, func(to string) error { return makeTree(to, suite) }))
	i.releases = releases(t, i.tree)
	chroot.Check(t, chroot.Once(i.disk, func(to string) error {
		return chroot.Run("mke2fs", "-q", "-t", "ext4", "-L", "dkms-vm", "-d", i.tree, to, "2500M")
	}))
	for _, release := range i.releases {
		chroot.Check(t, chroot.Once(i.kernel(release), func(to string) error { return i.extractKernel(release, to) }))
		chroot.Check(t, os.WriteFile(i.initramfs(release), i.packInitramfs(t, release), 0o644))
	}
	return i
}

// makeTree bootstraps Debian with two init systems and the headers of two
// kernels, and adds the kernels.
func makeTree(dir, suite string) error {
	if err := chroot.DebootstrapSuite(dir, suite, basePackages); err != nil {
		return err
	}
	apt := []string{dir, "apt-get", "install", "-qy", "--no-install-recommends"}
	if err := chroot.Run("chroot", append(apt, otherInit...)...); err != nil {
		return err
	}
	for _, flavour := range flavours {
		if err := addKernel(dir, flavour); err != nil {
			return err
		}
	}
	for _, waste := range []string{"var/cache/apt/archives", "usr/share/doc", "usr/share/man", "usr/share/locale"} {
		if err := os.RemoveAll(filepath.Join(dir, waste)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/fstab"), []byte("/dev/vda / ext4 defaults 0 0\n"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "etc/hostname"), []byte("vm\n"), 0o644)
}

// unpackImage takes the files out of a kernel's packages, of which sid has several.
// Unpacked over the system they would put a directory in the place of the link
// /lib.
const unpackImage = `set -e
cd /tmp
for part in image base binary modules; do
	! apt-cache show "linux-$part-$0" >/dev/null 2>&1 || apt-get download -q "linux-$part-$0"
done
for deb in linux-*.deb; do
	dpkg-deb -x "$deb" kernel
done
[ ! -d kernel/boot ] || cp -a kernel/boot/. /boot
for lib in kernel/lib kernel/usr/lib; do
	[ ! -d $lib/modules ] || cp -a $lib/modules/. /usr/lib/modules
done
[ -e "/boot/vmlinuz-$0" ] || cp "/usr/lib/modules/$0/vmlinuz" "/boot/vmlinuz-$0" # as its scripts do
rm -r kernel linux-*.deb`

// addKernel unpacks the kernel that goes with the headers, without the scripts
// of its package, and drops the drivers that the machine has no use for.
func addKernel(dir, flavour string) error {
	release, err := releaseOf(dir, flavour)
	if err != nil {
		return err
	}
	if err := chroot.Run("chroot", dir, "sh", "-c", unpackImage, release); err != nil {
		return err
	}
	kernel := filepath.Join(dir, "lib/modules", release, "kernel")
	waste := []string{filepath.Join(kernel, "sound"), filepath.Join(kernel, "net")}
	all, err := os.ReadDir(filepath.Join(kernel, "drivers"))
	if err != nil {
		return err
	}
	for _, d := range all {
		if !strings.Contains(" "+strings.Join(drivers, " ")+" ", " "+d.Name()+" ") {
			waste = append(waste, filepath.Join(kernel, "drivers", d.Name()))
		}
	}
	for _, w := range waste {
		if err := os.RemoveAll(w); err != nil {
			return err
		}
	}
	return chroot.Run("depmod", "-b", dir, release)
}

// releaseOf finds the kernel of a flavour for which the headers are there.
func releaseOf(dir, flavour string) (string, error) {
	links, _ := filepath.Glob(filepath.Join(dir, "lib/modules/*[0-9]-"+flavour, "build"))
	if len(links) != 1 {
		return "", fmt.Errorf("%s: %d kernels of flavour %s have headers; want 1", dir, len(links), flavour)
	}
	return filepath.Base(filepath.Dir(links[0])), nil
}

func releases(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	for _, flavour := range flavours {
		release, err := releaseOf(dir, flavour)
		chroot.Check(t, err)
		list = append(list, release)
	}
	return list
}
