package machine

import (
	"crypto/x509"

	"dkms/pkg/sign"
)

// Confirm says how to confirm a requested enrolment: only somebody in front of
// the machine can, before Linux starts.
const Confirm = "restart, press a key when the blue screen asks for one, choose Enroll MOK, Continue, Yes, and type the password that was given to dkms mok enroll"

// EnrolHint is the next step to make a certificate trusted.
func EnrolHint(t *sign.Trust) string {
	if t.Pending {
		return Confirm
	}
	return "dkms mok enroll, then restart and confirm it in the blue screen"
}

// Distrust says, in a clause, why this machine does not load modules that are
// signed with a certificate.
func Distrust(t *sign.Trust, cert *x509.Certificate) string {
	text := "this machine loads only modules signed with a key that its owner has enrolled in the firmware (a machine owner key, MOK), and \"" + cert.Subject.CommonName + "\" "
	if t.Pending {
		return text + "waits to be confirmed at the next start"
	}
	return text + "is not enrolled"
}
