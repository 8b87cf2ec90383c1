//go:build vm

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
)

const guarded = "guest/src/vm-guarded-1.0"

// testGuard installs a kernel for which an essential module does not build, on a
// machine that real firmware and Debian's GRUB start: the machine starts the last
// good one, and the new one once the module is mended.
func testGuard(t *testing.T, i image) {
	m := newMachine(t, i)
	flash := m.flash(firmwareVars, filepath.Join(m.dir, "vars"))
	files := map[string]string{
		"guard_loader.sh": grubLoader,
		"grub":            fmt.Sprintf("GRUB_DEFAULT=saved\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\nGRUB_DISABLE_OS_PROBER=true\nGRUB_CMDLINE_LINUX=%q\n", m.commandLine(boot{init: systemdInit})),
	}
	for _, release := range i.releases {
		data, err := os.ReadFile(i.initramfs(release))
		chroot.Check(t, err)
		files["initrd.img-"+release] = string(data)
	}
	tools := i.packages(t, "grub", "grub-common", "grub2-common", "libefiboot1", "libefivar1", "libfuse3-3", "libfreetype6", "libdevmapper1.02.1", "gettext-base")
	m.guard(boot{files: files, tools: tools}, boot{args: flash, esp: "fat:" + i.grubPartition(t) + ",readonly=on"})
}

// grubLoader are GRUB's part of the jobs. grub.cfg is made when the kernel's hooks
// have run, as Debian's zz-update-grub does.
const grubLoader = `
loader_set_up() {
	cp /run/vm/grub /etc/default/grub
	cp /run/vm/initrd.img-* /boot
	mkdir -p /boot/grub
	section mkconfig grub-mkconfig -o /boot/grub/grub.cfg
}
loader_add() { grub-mkconfig -o /boot/grub/grub.cfg; }
loader_default() { grub-editenv /boot/grub/grubenv list; }
`

// grubPartition is an EFI system partition with the GRUB that Debian has signed,
// which goes on with the menu on the disk.
func (i image) grubPartition(t *testing.T) string {
	t.Helper()
	signed := filepath.Join(i.dir, "signed")
	chroot.Check(t, chroot.Once(signed, func(to string) error { return i.takeLoaders(to) }))
	esp := t.TempDir()
	data, err := os.ReadFile(filepath.Join(signed, "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"))
	chroot.Check(t, err)
	for name, text := range map[string]string{
		"EFI/BOOT/BOOTX64.EFI": string(data),
		"EFI/debian/grub.cfg":  "search --no-floppy --set=root --label dkms-vm\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n",
	} {
		chroot.Check(t, os.MkdirAll(filepath.Dir(filepath.Join(esp, name)), 0o755))
		chroot.Check(t, os.WriteFile(filepath.Join(esp, name), []byte(text), 0o644))
	}
	return esp
}

// packages unpacks packages, without their scripts, below a directory that is kept
// under a name.
func (i image) packages(t *testing.T, name string, packages ...string) string {
	t.Helper()
	dir := filepath.Join(i.dir, "packages-"+name)
	const unpack = `set -e
rm -rf /tmp/unpacked && mkdir /tmp/unpacked && cd /tmp/unpacked
apt-get download -q "$@"
for package in *.deb; do dpkg-deb -x "$package" root; done
if [ -e root/lib ]; then cp -a root/lib/. root/usr/lib; rm -r root/lib; fi
rm -rf root/etc/kernel`
	chroot.Check(t, chroot.Once(dir, func(to string) error {
		if err := chroot.Run("chroot", append([]string{i.tree, "sh", "-c", unpack, "sh"}, packages...)...); err != nil {
			return err
		}
		return os.Rename(filepath.Join(i.tree, "tmp/unpacked/root"), to)
	}))
	return dir
}

// guard tells the story. first are the files and tools of the first boot, loaded
// what the machine needs to be started by its boot loader.
func (m *machine) guard(first, loaded boot) {
	t, old, recent := m.t, m.image.releases[0], m.image.releases[1]
	first.init, first.first, first.job, first.limit = systemdInit, []string{guarded}, "guard_install.sh", patience
	r := m.boot(first)
	judge(t, r.get("one kernel").status == 0 && !strings.Contains(r.get("one default").text, old), "guard: with one kernel the default is left alone", r.get("one kernel").text, r.get("one default").text)
	judge(t, strings.Contains(r.get("hooks").text, "now starts "+old+": "+recent+" has no working build of vm-guarded/1.0"), "guard: the hook of the new kernel says what it does", r.get("hooks").text)
	judge(t, strings.Contains(r.get("default").text, old), "guard: the old kernel is the default", r.get("default").text, r.get("late hook").text)
	judge(t, strings.Contains(r.get("check").text, "boot guard: ") && strings.Contains(r.get("check").text, "safe to restart: "+old+" boots next"), "guard: check says so", r.get("check").text)
	judge(t, strings.Contains(r.get("history").text, "guard vm-guarded/1.0"), "guard: history says so", r.get("history").text)

	loaded.init, loaded.limit, loaded.files = systemdInit, patience, map[string]string{"guard_loader.sh": first.files["guard_loader.sh"]}
	loaded.job = "guard_mend.sh"
	r = m.boot(loaded)
	judge(t, r.get("running").text == old, "guard: the machine starts the last good kernel", r.get("running").text)
	judge(t, r.get("load").status == 0, "guard: and its module loads", r.get("load").text)
	judge(t, r.get("mended").status == 0 && strings.Contains(r.get("mended").text, "starts "+recent+" again"), "guard: it is lifted when the module is mended", r.get("mended").text)
	judge(t, !strings.Contains(r.get("default").text, old) && r.get("guard").status != 0, "guard: and leaves nothing", r.get("default").text, r.get("guard").text)
	judge(t, r.get("check").status == 0, "guard: check calls the new kernel safe", r.get("check").text)

	loaded.job = "guard_end.sh"
	r = m.boot(loaded)
	judge(t, r.get("running").text == recent, "guard: the machine starts the new kernel", r.get("running").text)
	judge(t, r.get("load").status == 0, "guard: and its module loads there", r.get("load").text)
}
