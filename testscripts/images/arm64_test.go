//go:build images

package images

import (
	"debug/elf"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
	"dkms/testscripts/testkit"
)

// unpack makes a Debian of another architecture, none of whose programs has run.
const unpack = `debootstrap --foreign --arch=arm64 --variant=minbase --include=linux-image-arm64,linux-headers-arm64,busybox-static trixie arm64-image
for deb in arm64-image/var/cache/apt/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C arm64-image
done
depmod -b arm64-image "$(ls arm64-image/lib/modules)" # as the kernel's package does
# In containers, debootstrap leaves a link to that of this machine.
[ ! -L arm64-image/proc ] || { rm arm64-image/proc; mkdir arm64-image/proc; }`

// drivers are sources that Debian ships, for the kernel of the image. Another
// Debian of its release asks for them.
const drivers = `for driver in v4l2loopback-dkms dm-writeboost-dkms; do
	chroot tools sh -c "cd /root && apt-get -qq -o APT::Sandbox::User=root download $driver"
	dpkg-deb -x tools/root/$driver*.deb arm64-image
done`

// register adds every module below /usr/src.
const register = `for conf in arm64-image/usr/src/*/dkms.conf; do
	dir=$(basename "${conf%/*}")
	dkms --root arm64-image add "${dir%-*}/${dir##*-}"
done
`

// starter is the first program of a machine that loads what is in its initramfs.
const starter = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox insmod /hello.ko && /bin/busybox grep '^hello ' /proc/modules
/bin/busybox poweroff -f
`

// Modules for arm64 are built by a cross compiler, as README has it, without
// one program of that machine. An arm64 kernel then loads one.
func TestArm64(t *testing.T) {
	chroot.Require(t, "debootstrap", "go", "make", "depmod", "modinfo", "cpio", "qemu-system-aarch64")
	dir, bin := t.TempDir(), t.TempDir()
	testkit.Must(t, chroot.Run("make", "-C", "../..", "BIN="+bin, "all"))
	run(t, dir, bin, unpack)
	tools, install, ok := strings.Cut(example(t, "arm64-image"), "dkms ")
	if !ok {
		t.Fatalf("the example is %q", tools)
	}
	run(t, dir, bin, tools)
	run(t, dir, bin, drivers)
	writeHello(t, filepath.Join(dir, "arm64-image/usr/src/hello-1.0"))
	names := map[string]string{"hello": "hello.ko", "v4l2loopback": "v4l2loopback.ko", "dm-writeboost": "dm-writeboost.ko"}
	run(t, dir, bin, register+"dkms "+install)

	kernel := strings.TrimSpace(run(t, dir, bin, "ls arm64-image/lib/modules"))
	status := run(t, dir, bin, "dkms --root arm64-image status")
	for name, file := range names {
		if want := ", " + kernel + ", aarch64: installed"; !strings.Contains(status, name+"/") || strings.Count(status, want) != len(names) {
			t.Errorf("%s: status is\n%s", name, status)
		}
		path := strings.TrimSpace(run(t, dir, bin, "find arm64-image/lib/modules/ -name '"+file+"*'"))
		plain := filepath.Join(dir, file)
		run(t, dir, bin, "case "+path+" in *.xz) xz -dc "+path+" ;; *) cat "+path+" ;; esac >"+plain)
		f, err := elf.Open(plain)
		testkit.Must(t, err)
		if f.Machine != elf.EM_AARCH64 {
			t.Errorf("%s is for %s", path, f.Machine)
		}
		f.Close()
		if magic := run(t, dir, bin, "modinfo -F vermagic "+path); !strings.HasPrefix(magic, kernel+" ") || !strings.Contains(magic, "aarch64") {
			t.Errorf("%s: vermagic is %q", path, magic)
		}
		run(t, dir, bin, "grep -q /"+file+" arm64-image/lib/modules/*/modules.dep")
	}

	testkit.WriteMode(t, filepath.Join(dir, "initramfs/init"), starter, 0o755)
	run(t, dir, bin, `mkdir -p initramfs/bin initramfs/proc initramfs/dev
cp hello.ko initramfs && cp arm64-image/usr/bin/busybox initramfs/bin
(cd initramfs && find . | cpio -o -H newc | gzip) >initramfs.gz`)
	out := run(t, dir, bin, `timeout 600 qemu-system-aarch64 -M virt -cpu cortex-a57 -m 512 -nographic -no-reboot \
	-kernel arm64-image/boot/vmlinuz-* -initrd initramfs.gz -append "console=ttyAMA0 panic=-1 quiet" </dev/null`)
	if !strings.Contains("\n"+out, "\nhello ") {
		t.Errorf("the kernel did not load it:\n%s", out[max(0, len(out)-3000):])
	}
}
