//go:build vm

package vm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkms/testscripts/chroot"
)

const guarded = "guest/src/vm-guarded-1.0"

// testGuard installs a kernel for which an essential module does not build, on a
// machine that real firmware and Debian's GRUB start: the machine starts the last
// good one, and the new one once the module is mended.
func testGuard(t *testing.T, i image) {
	m, first, loaded := grubMachine(t, i)
	m.guard(first, loaded)
}

// testGuardCut cuts the power while the boot guard sets the default of GRUB and puts
// it back: the machine always starts one of the two kernels, and its boot service
// leaves one whole state.
func testGuardCut(t *testing.T, i image) {
	cuts, seed := number(t, "VM_CUTS", defaultCuts), number(t, "VM_SEED", 1)
	moments := rand.New(rand.NewPCG(uint64(seed), 0))
	m, first, loaded := grubMachine(t, i)
	m.install(first)
	for n := range cuts + 1 {
		b := loaded
		b.init, b.limit, b.job = systemdInit, patience, "guard_cut.sh"
		b.files = map[string]string{"guard_loader.sh": first.files["guard_loader.sh"]}
		if n == cuts {
			b.files["last"] = ""
		} else {
			b.cut = time.Duration(200+moments.IntN(9000)) * time.Millisecond
		}
		r := m.boot(b)
		when := fmt.Sprintf("guard, power cut %d of seed %d", n, seed)
		if !r.has("verified") {
			t.Errorf("FAIL %s: the system did not come up", when)
			continue
		}
		evidence := []string{r.get("running").text, r.get("default").text, r.get("guard").text, r.get("apt").text, r.get("left").text}
		judge(t, slices.Contains(i.releases, r.get("running").text), when+": one of the two kernels runs: "+r.get("running").text, evidence...)
		held := strings.Contains(r.get("default").text, i.releases[0])
		judge(t, held == (r.get("guard").status == 0) && held == (r.get("apt").status == 0), fmt.Sprintf("%s: the record, the default and what apt is told agree: held %v", when, held), evidence...)
		judge(t, r.get("left").text == "", when+": no temporary file is left", evidence...)
		judge(t, r.get("filesystem").text == "", when+": the file system is not damaged", r.get("filesystem").text)
	}
}

// grubMachine is a machine that Debian's GRUB starts, with what it needs for its first
// boot and for the others.
func grubMachine(t *testing.T, i image) (m *machine, first, loaded boot) {
	t.Helper()
	m = newMachine(t, i)
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
	return m, boot{files: files, tools: tools}, boot{args: flash, esp: "fat:" + i.grubPartition(t) + ",readonly=on"}
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

// testGuardSystemdBoot is the same with systemd-boot, which keeps its default in the
// firmware.
func testGuardSystemdBoot(t *testing.T, i image) {
	chroot.Require(t, "mkfs.vfat", "mmd", "mcopy")
	m := newMachine(t, i)
	flash := m.flash(firmwareVars, filepath.Join(m.dir, "vars"))
	esp := m.bootPartition(t)
	m.guard(boot{files: map[string]string{"guard_loader.sh": systemdBootLoader}, args: flash, esp: esp}, boot{args: flash, esp: esp})
}

// systemdBootLoader is systemd-boot's part of the jobs. The entry of the new kernel
// is made when the kernel's hooks have run, as kernel-install does.
const systemdBootLoader = `
mkdir -p /efi
mount -t vfat /dev/vdc /efi
loader_set_up() { :; }
loader_add() { mv "/efi/new/$1.conf" /efi/loader/entries; }
loader_default() { cat /sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f | tail -c +5 | tr -d '\000'; }
`

// bootPartition is a disk that is an EFI system partition with systemd-boot, both
// kernels, and the entry of the first one.
func (m *machine) bootPartition(t *testing.T) string {
	t.Helper()
	i := m.image
	program := filepath.Join(i.packages(t, "systemd-boot", "systemd-boot-efi"), "usr/lib/systemd/boot/efi/systemd-bootx64.efi")
	disk := filepath.Join(m.dir, "esp.fat")
	chroot.Check(t, chroot.Run("mkfs.vfat", "-C", "-F", "32", "-n", "ESP", disk, "131072"))
	dirs := []string{"EFI", "EFI/BOOT", "loader", "loader/entries", "new"}
	files := map[string]string{program: "EFI/BOOT/BOOTX64.EFI"}
	text := func(name, content string) {
		from := filepath.Join(t.TempDir(), filepath.Base(name))
		chroot.Check(t, os.WriteFile(from, []byte(content), 0o644))
		files[from] = name
	}
	text("loader/loader.conf", "timeout 0\n")
	for n, release := range i.releases {
		dirs = append(dirs, release)
		files[i.bzImage(release)], files[i.initramfs(release)] = release+"/linux", release+"/initrd"
		text([]string{"loader/entries/", "new/"}[n]+release+".conf", fmt.Sprintf("title Debian %[1]s\nversion %[1]s\nlinux /%[1]s/linux\ninitrd /%[1]s/initrd\noptions %[2]s\n", release, m.commandLine(boot{init: systemdInit})))
	}
	for _, dir := range dirs {
		chroot.Check(t, chroot.Run("mmd", "-i", disk, "::"+dir))
	}
	for from, to := range files {
		chroot.Check(t, chroot.Run("mcopy", "-i", disk, from, "::"+to))
	}
	return disk
}

// packages unpacks packages, without their scripts, below a directory that is kept
// under a name.
func (i image) packages(t *testing.T, name string, packages ...string) string {
	t.Helper()
	dir := filepath.Join(i.dir, "packages-"+name)
	const unpack = `set -e
rm -rf "/tmp/unpacked-$0" && mkdir "/tmp/unpacked-$0" && cd "/tmp/unpacked-$0"
apt-get download -q "$@"
for package in *.deb; do dpkg-deb -x "$package" root; done
if [ -e root/lib ]; then cp -a root/lib/. root/usr/lib; rm -r root/lib; fi
rm -rf root/etc/kernel`
	chroot.Check(t, chroot.Once(dir, func(to string) error {
		if err := chroot.Run("chroot", append([]string{i.tree, "sh", "-c", unpack, name}, packages...)...); err != nil {
			return err
		}
		return os.Rename(filepath.Join(i.tree, "tmp/unpacked-"+name, "root"), to)
	}))
	return dir
}

// install boots the machine for the first time: a kernel comes for which the module
// does not build.
func (m *machine) install(first boot) report {
	first.init, first.first, first.job, first.limit = systemdInit, []string{guarded}, "guard_install.sh", patience
	return m.boot(first)
}

// guard tells the story. first are the files and tools of the first boot, loaded
// what the machine needs to be started by its boot loader.
func (m *machine) guard(first, loaded boot) {
	t, old, recent := m.t, m.image.releases[0], m.image.releases[1]
	r := m.install(first)
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
