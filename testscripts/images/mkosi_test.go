//go:build images

package images

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
	"dkms/testscripts/testkit"
)

// settings are those of an image that a driver is built for.
const settings = `[Distribution]
Distribution=debian
Release=trixie

[Output]
Format=directory

[Content]
Bootable=no
Packages=linux-headers-amd64,make,kmod,xz-utils
`

// sources are those that mkosi would choose, without Debian's debug symbols,
// which few mirrors have.
const sources = `Types: deb
URIs: %s
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`

// onBuilder runs a command on a machine that builds images.
const onBuilder = `unshare --mount --pid --fork --uts --ipc sh -ec '
mount --bind builder builder
mount -t proc proc builder/proc
mount -t sysfs sys builder/sys
mount --rbind /dev builder/dev
mount -t tmpfs run builder/run
exec env -i http_proxy="${http_proxy-}" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH=1700000000 chroot builder sh -ec "$1"' - `

// mkosi makes an image, and its script for finalize is the one of README.
func TestMkosi(t *testing.T) {
	chroot.Require(t, "debootstrap", "go", "make", "modinfo", "unshare")
	dir, bin := t.TempDir(), t.TempDir()
	testkit.Must(t, chroot.Run("make", "-C", "../..", "BIN="+bin, "all"))
	root := filepath.Join(dir, "builder")
	testkit.Must(t, chroot.DebootstrapSuite(root, "trixie", "ca-certificates,gcc,kmod,make,python3,xz-utils"))
	run(t, dir, bin, onBuilder+`"apt-get -qq update; apt-get -qqy install --no-install-recommends mkosi"`)
	testkit.Must(t, chroot.Run("cp", filepath.Join(bin, "dkms"), filepath.Join(root, "usr/sbin/dkms")))
	image := filepath.Join(root, "root/image")
	testkit.Write(t, filepath.Join(image, "mkosi.conf"), settings)
	testkit.Write(t, filepath.Join(image, "mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources"), fmt.Sprintf(sources, chroot.Mirror()))
	writeHello(t, filepath.Join(image, "mkosi.extra/usr/src/hello-1.0"))
	finalize := filepath.Join(image, "mkosi.finalize")
	testkit.Write(t, finalize, example(t, "BUILDROOT"))
	run(t, dir, bin, "chmod 755 "+finalize)

	text := run(t, dir, bin, onBuilder+`"cd /root/image && mkosi build" 2>&1`)
	if !regexp.MustCompile(`hello/1\.0: installed for 6\.`).MatchString(text) {
		t.Errorf("dkms did not say that it installed the module:\n%s", text[max(0, len(text)-3000):])
	}
	built := filepath.Join(image, "image/usr/lib/modules")
	kernel := strings.TrimSpace(run(t, dir, bin, "ls "+built))
	if magic := run(t, dir, bin, "modinfo -F vermagic "+built+"/*/updates/dkms/hello.ko*"); !strings.HasPrefix(magic, kernel+" ") {
		t.Errorf("vermagic is %q, of kernel %s", magic, kernel)
	}
	if left := run(t, dir, bin, "find "+image+"/image -name 'mok.*'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}
