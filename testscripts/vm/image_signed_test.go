//go:build vm

package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
)

// testImage builds a module for a system that does not run, and leaves it to be
// signed; the boot service of the machine signs it as soon as there is a key
// that the firmware trusts, and the kernel takes it under Secure Boot.
func testImage(t *testing.T, i image) {
	built := i.builtOutside(t, demo)
	m := newMachine(t, i)

	r := m.boot(boot{init: systemdInit, first: []string{}, tools: built, job: "image_first.sh", limit: patience})
	judge(t, r.get("keys").text == "", "image: there is no private key in it", r.get("keys").text)
	judge(t, r.field("unit", "ActiveState") == "active" && !builds(r.get("journal").text), "image: the first start builds nothing", r.get("unit").text, r.get("journal").text)
	judge(t, strings.Contains(r.get("status").text, "dkms-demo/1.0, "+i.releases[0]+", x86_64: installed") && r.loaded("dkms_demo"), "image: its module is installed and loaded where nobody asks for signatures", r.get("status").text, r.get("modules").text)
	judge(t, r.get("signer").text == "", "image: its module is not signed, without a key", r.get("signer").text)
	judge(t, r.get("generate").status == 0, "image: the machine gets a key", r.get("generate").text)
	judge(t, r.get("credential").status == 0, "image: the key becomes a credential of the boot service", r.get("credential").text)

	uefi := m.enroll("db")
	r = m.boot(boot{init: systemdInit, job: "image_signed.sh", args: uefi, limit: patience})
	judge(t, strings.Contains(r.get("lockdown").text, "[integrity]"), "image, with a trusted key: Secure Boot locks the kernel down", r.get("lockdown").text)
	judge(t, r.field("unit", "ActiveState") == "active" && !builds(r.get("journal").text), "image, with a trusted key: nothing is built", r.get("unit").text, r.get("journal").text)
	judge(t, r.get("signer").text == "PKCS#7", "image, with a trusted key: the boot service has signed the module", r.get("signer").text, r.get("journal").text)
	judge(t, r.loaded("dkms_demo"), "image, with a trusted key: the kernel has loaded it", r.get("modules").text, r.get("journal").text)
	judge(t, r.get("check").status == 0, "image, with a trusted key: check calls the kernel ready", r.get("check").text)
}

// builtOutside has this machine build a module for all kernels of the image,
// which is not changed. It returns a directory with what the image has to get.
func (i image) builtOutside(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	added, work, root := filepath.Join(dir, "added"), filepath.Join(dir, "work"), filepath.Join(dir, "root")
	for _, d := range []string{added, work, root} {
		chroot.Check(t, os.Mkdir(d, 0o755))
	}
	chroot.Check(t, chroot.Run("mount", "-t", "overlay", "-o", "lowerdir="+i.tree+",upperdir="+added+",workdir="+work, "image", root))
	defer func() { chroot.Check(t, chroot.Run("umount", root)) }()
	dkms := filepath.Join(i.ours(systemdInit), "usr/sbin/dkms")
	chroot.Check(t, chroot.Run("cp", "-a", source, filepath.Join(root, "usr/src")))
	name, version, _ := strings.Cut(filepath.Base(source), "-1")
	chroot.Check(t, chroot.Run(dkms, "--root", root, "add", name+"/1"+version))
	chroot.Check(t, chroot.Run(dkms, "--root", root, "autoinstall", "--all-kernels", "--sign=later"))
	// What the overlay has deleted are devices, which nobody else understands.
	chroot.Check(t, chroot.Run("find", added, "-type", "c", "-delete"))
	return added
}
