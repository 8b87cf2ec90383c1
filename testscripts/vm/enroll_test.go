//go:build vm

package vm

import (
	"path/filepath"
	"strings"
	"testing"
)

// testEnroll boots under UEFI firmware and has mokutil ask for our certificate
// to be enrolled, in all the ways that there are to give the password.
func testEnroll(t *testing.T, i image) {
	m := newMachine(t, i)
	r := m.boot(boot{
		init: systemdInit, first: []string{}, job: "enroll.sh",
		args: m.firmware(filepath.Join(m.dir, "vars")), limit: patience,
	})
	waits := "waiting for confirmation at the next start (MokNew)"
	judge(t, strings.Contains(r.get("before").text, "Certificate is known to: nowhere"), "enrolment: nobody knows a new certificate", r.get("generate").text, r.get("before").text)
	for _, c := range []struct{ section, claim string }{
		{"enroll", "mokutil takes the password from a file"},
		{"holds", "the firmware's MokNew is our certificate"},
		{"again", "asking twice is no error"},
		{"once", "asking twice leaves the first request as it was"},
		{"hash", "mokutil takes the hash of a password"},
		{"hash holds", "MokNew is our certificate again"},
		{"hash is ours", "MokAuth is what mokutil makes of that hash"},
		{"typed", "at a terminal mokutil asks for the password"},
		{"typed holds", "MokNew is our certificate after that"},
		{"pem", "a certificate in a PEM file can be enrolled"},
		{"pem holds", "MokNew is that certificate"},
	} {
		judge(t, r.has(c.section) && r.get(c.section).status == 0, "enrolment: "+c.claim, r.get(c.section).text)
	}
	judge(t, strings.Contains(r.get("new").text, "DKMS module signing key"), "enrolment: mokutil lists the request", r.get("new").text)
	judge(t, strings.Contains(r.get("status").text, waits), "enrolment: mok status tells of the request", r.get("status").text)
	judge(t, strings.Contains(r.get("json").text, `"pending": true`), "enrolment: mok status --json does, too", r.get("json").text)
	judge(t, strings.Contains(r.get("again").text, "waits already"), "enrolment: the second time says that it waits already", r.get("again").text)
	judge(t, !strings.Contains(r.get("revoked").text, waits), "enrolment: mok status forgets a request that was revoked", r.get("revoked").text)
	judge(t, r.get("nobody").status != 0 && strings.Contains(r.get("nobody").text, "--password-file"), "enrolment: without a terminal it fails and says how to go on", r.get("nobody").text)
	judge(t, !strings.Contains(r.get("nobody new").text, "DKMS"), "enrolment: and nothing is requested then", r.get("nobody new").text)
}
