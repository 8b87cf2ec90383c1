//go:build vm

package vm

import (
	"os"
	"strings"
	"testing"
)

const (
	firmware     = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// testSigEnforce boots a kernel that takes signed modules only: first without
// our certificate among its keys, then with it, from the firmware's variables.
func testSigEnforce(t *testing.T, i image) {
	_, err := os.Stat(firmware)
	need(t, err == nil, firmware+" is not there: install ovmf")
	m := newMachine(t, i)
	vars := m.dir + "/vars.fd"
	check(t, run("cp", firmwareVars, vars))
	uefi := []string{
		"-drive", "if=pflash,format=raw,readonly=on,file=" + firmware,
		"-drive", "if=pflash,format=raw,file=" + vars,
		"-kernel", i.bzImage(i.releases[0]),
	}
	const enforce = "module.sig_enforce=1"

	r := m.boot(boot{init: systemdInit, first: []string{idle}, job: "sig_first.sh", cmdline: enforce, limit: patience})
	judge(t, r["enforced"].text == "Y", "signatures: they are enforced", r["enforced"].text)
	refused(t, r, "unsigned", "without our certificate")
	refused(t, r, "foreign", "without our certificate")
	refused(t, r, "ours", "without our certificate")

	r = m.boot(boot{init: systemdInit, job: "sig_enroll.sh", args: uefi, limit: patience})
	judge(t, r["enroll"].status == 0, "signatures: the certificate is enrolled", r["enroll"].text)

	r = m.boot(boot{init: systemdInit, job: "sig_first.sh", cmdline: enforce, args: uefi, limit: patience})
	judge(t, r["enforced"].text == "Y", "signatures: they are enforced under UEFI", r["enforced"].text)
	refused(t, r, "unsigned", "with our certificate")
	refused(t, r, "foreign", "with our certificate")
	judge(t, r["insmod ours"].status == 0, "signatures, with our certificate: ours is loaded", r["insmod ours"].text, r["dmesg"].text, r["keys"].text)
	judge(t, r["check"].status == 0, "signatures, with our certificate: check calls the kernel ready", r["check"].text)
}

// refused wants the kernel to refuse a module because of its signature.
func refused(t *testing.T, r report, name, when string) {
	t.Helper()
	s := r["insmod "+name]
	judge(t, s.status != 0 && (strings.Contains(s.text, "Key was rejected") || strings.Contains(s.text, "Required key not available")),
		"signatures, "+when+": "+name+" is refused", s.text, r["sig_id "+name].text, r["dmesg"].text)
}
