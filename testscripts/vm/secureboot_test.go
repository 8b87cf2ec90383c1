//go:build vm

package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"dkms/testscripts/chroot"
)

// microsoftVars are the variables of a machine as it is sold: Secure Boot is on,
// and what Microsoft has signed may boot.
const microsoftVars = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"

// Keys of a terminal.
const (
	enter = "\r"
	down  = "\x1b[B"
)

// hello are the sources of a module whose reader has README and this program
// only.
var hello = map[string]string{
	"hello.c": `#include <linux/module.h>
static int __init hello_init(void) { return 0; }
static void __exit hello_exit(void) { }
module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("GPL");
`,
	"Makefile":  "obj-m := hello.o\n",
	"dkms.conf": "PACKAGE_NAME=hello\nPACKAGE_VERSION=1.0\nBUILT_MODULE_NAME=hello\nDEST_MODULE_LOCATION=/updates/dkms\nAUTOINSTALL=yes\n",
}

// testSecureBoot goes the way of README's section "Secure Boot" on a machine as
// it is sold, with Debian's shim, grub and kernel, to a loaded module. Somebody
// sits in front of it and confirms the key in shim's MokManager.
func testSecureBoot(t *testing.T, i image) {
	m := newMachine(t, i)
	flash := m.flash(microsoftVars, filepath.Join(m.dir, "vars"))
	r := m.boot(boot{
		init: systemdInit, first: []string{}, job: "secureboot_first.sh", files: hello, loader: true, args: flash, limit: patience,
	})
	judge(t, strings.Contains(r.get("state").text, "SecureBoot enabled"), "Secure Boot: the machine has it", r.get("state").text)
	judge(t, r.get("install").status == 0 && strings.Contains(r.get("install").text, "will not load"),
		"Secure Boot: install warns that the module will not load yet", r.get("install").text)
	judge(t, r.get("load").status != 0, "Secure Boot: and it does not load", r.get("load").text)
	judge(t, r.get("check").status != 0 && strings.Contains(r.get("check").text, "untrusted"), "Secure Boot: check says so", r.get("check").text)
	judge(t, r.get("enroll").status == 0 && strings.Contains(r.get("enroll").text, "Enroll MOK"),
		"Secure Boot: mok enroll says what to do in the blue screen", r.get("enroll").text)
	judge(t, strings.Contains(r.get("waiting").text, "MokNew"), "Secure Boot: mok status says that the key waits", r.get("waiting").text)
	judge(t, r.get("check again").status != 0, "Secure Boot: a key that waits does not load modules", r.get("check again").text)

	m.boot(boot{init: systemdInit, job: "secureboot_second.sh", loader: true, args: flash, limit: patience, keys: []answer{
		{"Press any key to perform MOK management", enter},
		{"Perform MOK management.*Enroll MOK.*Enroll key from disk", down + enter},
		{"View key 0.*Continue", down + enter},
		{"Enroll the key.*Yes", down + enter},
		{"Password:", "sesame" + enter},
		{"Perform MOK management.*Reboot", enter},
	}})

	r = m.boot(boot{init: systemdInit, job: "secureboot_second.sh", loader: true, args: flash, limit: patience})
	judge(t, r.get("status").status == 0 && strings.Contains(r.get("status").text, "modules signed with this key load"),
		"Secure Boot, key confirmed: mok status says that modules load", r.get("status").text)
	judge(t, r.get("load").status == 0 && r.get("taint").text == "O", "Secure Boot, key confirmed: the module loads", r.get("load").text, r.get("dmesg").text)
	judge(t, r.get("check").status == 0, "Secure Boot, key confirmed: check says that it is safe to restart", r.get("check").text)
}

// loader makes the directory that the machine has as its EFI system partition.
func (i image) loader(t *testing.T, release, commandLine string) string {
	t.Helper()
	signed := filepath.Join(i.dir, "signed")
	chroot.Check(t, chroot.Once(signed, func(to string) error { return i.takeLoaders(to) }))
	esp := t.TempDir()
	for from, to := range map[string]string{
		filepath.Join(signed, "usr/lib/shim/shimx64.efi.signed"):                   "EFI/BOOT/BOOTX64.EFI",
		filepath.Join(signed, "usr/lib/shim/mmx64.efi.signed"):                     "EFI/BOOT/mmx64.efi",
		filepath.Join(signed, "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"): "EFI/BOOT/grubx64.efi",
		i.bzImage(release):   "vmlinuz",
		i.initramfs(release): "initrd",
	} {
		data, err := os.ReadFile(from)
		chroot.Check(t, err)
		chroot.Check(t, os.MkdirAll(filepath.Dir(filepath.Join(esp, to)), 0o755))
		chroot.Check(t, os.WriteFile(filepath.Join(esp, to), data, 0o644))
	}
	chroot.Check(t, os.MkdirAll(filepath.Join(esp, "EFI/debian"), 0o755))
	chroot.Check(t, os.WriteFile(filepath.Join(esp, "EFI/debian/grub.cfg"),
		fmt.Appendf(nil, "search --no-floppy --set=root --file /vmlinuz\nlinux /vmlinuz %s\ninitrd /initrd\nboot\n", commandLine), 0o644))
	return esp
}

// takeLoaders unpacks the boot loaders that Debian has signed, without the
// scripts of their packages.
func (i image) takeLoaders(to string) error {
	const unpack = `set -e
rm -rf /tmp/loaders && mkdir /tmp/loaders && cd /tmp/loaders
apt-get download -q shim-signed shim-helpers-amd64-signed grub-efi-amd64-signed
for package in *.deb; do dpkg-deb -x "$package" signed; done`
	if err := chroot.Run("chroot", i.tree, "sh", "-c", unpack); err != nil {
		return err
	}
	return os.Rename(filepath.Join(i.tree, "tmp/loaders/signed"), to)
}

// escapes are the commands to a terminal that place and colour text.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]|[\x00-\x1f]")

// typeAnswers types each answer when its text has come, and after the one before
// it.
func typeAnswers(ctx context.Context, socket string, answers []answer) error {
	var console net.Conn
	for console == nil {
		var err error
		if console, err = net.Dial("unix", socket); err != nil {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(50 * time.Millisecond): // until qemu listens
			}
		}
	}
	defer console.Close()
	shown, buf := "", make([]byte, 4096)
	for _, a := range answers {
		wanted := regexp.MustCompile("(?s)" + a.text)
		for !wanted.MatchString(escapes.ReplaceAllString(shown, "")) {
			n, err := console.Read(buf)
			if err != nil {
				return errors.Join(fmt.Errorf("the console never showed %q", a.text), err)
			}
			shown += string(buf[:n])
		}
		shown = ""
		// A real terminal sends the bytes of one key together, and a person
		// presses one key after the other.
		for _, key := range regexp.MustCompile("\x1b\\[.|.|\r").FindAllString(a.keys, -1) {
			if _, err := console.Write([]byte(key)); err != nil {
				return err
			}
		}
	}
	_, err := console.Read(buf)
	for err == nil { // qemu waits for whoever reads its console
		_, err = console.Read(buf)
	}
	return nil
}
