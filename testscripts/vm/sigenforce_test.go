//go:build vm

package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
)

const (
	firmware     = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// testSigEnforce boots a kernel that takes signed modules only: first without
// our certificate among its keys, then under Secure Boot with it in the
// firmware's db, then with it among the machine owner's keys.
func testSigEnforce(t *testing.T, i image) {
	m := newMachine(t, i)
	const enforce = "module.sig_enforce=1"

	r := m.boot(boot{init: systemdInit, first: []string{idle}, job: "sig_first.sh", cmdline: enforce, limit: patience})
	judge(t, r.get("enforced").text == "Y", "signatures: they are enforced", r.get("enforced").text)
	refused(t, r, "without our certificate", "unsigned", "foreign", "ours")
	judge(t, r.get("check").status != 0 && strings.Contains(r.get("check").text, "untrusted"), "signatures, without our certificate: check says that ours is not trusted", r.get("check").text)

	for _, where := range []string{"db", "MOK"} {
		when := "Secure Boot, our certificate in " + where
		uefi := m.enroll(where)
		r = m.boot(boot{init: systemdInit, job: "sig_first.sh", args: uefi, limit: patience})
		judge(t, strings.Contains(r.get("lockdown").text, "[integrity]") && strings.Contains(r.get("dmesg").text, "Secure boot enabled"),
			"signatures, "+when+": it locks the kernel down", r.get("lockdown").text, r.get("dmesg").text)
		refused(t, r, when, "unsigned", "foreign")
		accepted(t, r, when)
	}
}

// enroll boots with new firmware, switches Secure Boot on and puts our
// certificate into the firmware's variables.
// It returns what qemu needs to boot with these again.
func (m *machine) enroll(where string) []string {
	m.t.Helper()
	uefi := m.firmware(filepath.Join(m.dir, "vars-"+where))
	r := m.boot(boot{init: systemdInit, job: "sig_enroll.sh", files: map[string]string{"where": where}, args: uefi, limit: patience})
	judge(m.t, r.get("enroll").status == 0, "signatures: the certificate is enrolled as "+where, r.get("enroll").text)
	return uefi
}

// firmware puts new firmware into the machine, with its variables in the file
// vars. It returns what qemu needs to boot with it.
func (m *machine) firmware(vars string) []string {
	return append(m.flash(firmwareVars, vars), "-kernel", m.image.bzImage(m.image.releases[0]))
}

// flash is firmware whose variables are a copy of those in the file from.
func (m *machine) flash(from, vars string) []string {
	m.t.Helper()
	_, err := os.Stat(firmware)
	chroot.Need(m.t, err == nil, firmware+" is not there: install ovmf")
	chroot.Check(m.t, chroot.Run("cp", from, vars))
	return []string{
		"-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,format=raw,readonly=on,file=" + firmware,
		"-drive", "if=pflash,format=raw,file=" + vars,
	}
}

// refused wants the kernel to refuse modules because of their signatures.
func refused(t *testing.T, r report, when string, names ...string) {
	t.Helper()
	for _, name := range names {
		s := r.get("insmod " + name)
		because := strings.Contains(s.text, "Key was rejected") || strings.Contains(s.text, "Required key not available") ||
			strings.Contains(s.text, "Operation not permitted") && strings.Contains(r.get("dmesg").text, "Lockdown: insmod")
		judge(t, s.status != 0 && because, "signatures, "+when+": "+name+" is refused", s.text, r.get("sig_id "+name).text, r.get("dmesg").text)
	}
}

// accepted wants the kernel to load our module, and us to know it.
func accepted(t *testing.T, r report, when string) {
	t.Helper()
	judge(t, r.get("insmod ours").status == 0 && r.get("taint ours").text == "O", "signatures, "+when+": ours is loaded and taints the kernel as foreign only", r.get("taint ours").text, r.get("insmod ours").text, r.get("dmesg").text, r.get("keys").text)
	judge(t, r.get("check").status == 0, "signatures, "+when+": check calls the kernel ready", r.get("check").text, r.get("keys").text)
}
