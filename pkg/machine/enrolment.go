package machine

import (
	"crypto/x509"

	"dkms/pkg/sign"
)

// Confirm says how to confirm a requested enrolment: only somebody in front of
// the machine can, before Linux starts.
const Confirm = "restart, press a key when the blue screen asks for one, choose Enroll MOK, Continue, Yes, and type the password that was given to dkms mok enroll"

// TakeOver says how a kernel gets an enrolled key.
const TakeOver = "restart, through shim: a kernel takes these keys over when it starts"

// EnrolHint is the next step to make a certificate trusted.
func EnrolHint(t *sign.Trust) string {
	switch {
	case t.Pending:
		return Confirm
	case t.Revoked:
		return "dkms mok enroll says how to make another key"
	case t.PlatformOnly():
		return "start a kernel with CONFIG_INTEGRITY_MACHINE_KEYRING through shim, or have the kernel signed with a certificate built in"
	case t.MOK || t.DB:
		return TakeOver
	}
	return "dkms mok enroll, then restart and confirm it in the blue screen"
}

// Distrust says, in a clause, why this machine does not load modules that are
// signed with a certificate.
func Distrust(t *sign.Trust, cert *x509.Certificate) string {
	text := "this machine loads only modules signed with a key that its owner has enrolled in the firmware (a machine owner key, MOK), and \"" + cert.Subject.CommonName + "\" "
	switch {
	case t.Pending:
		return text + "waits to be confirmed at the next start"
	case t.Revoked:
		return text + "was revoked by the firmware or shim"
	case t.PlatformOnly():
		return text + "is enrolled, but this kernel takes no keys of the firmware for modules"
	case t.MOK || t.DB:
		return text + "is enrolled, but the kernel that runs has not taken it over"
	}
	return text + "is not enrolled"
}
