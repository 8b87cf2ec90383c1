package inspect

import (
	"context"
	"crypto/x509"
	"strings"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/sign"
)

// MOKStatus is the signing key and its trust on this machine. The JSON names
// are an interface; see dkms-json(5).
type MOKStatus struct {
	Schema int `json:"schema"`
	// Key and Certificate are paths; Key can also be a pkcs11: URI. KeyExists
	// and CertificateExists say whether they exist. Origin says what named
	// them.
	Key               string `json:"key"`
	KeyExists         bool   `json:"key_exists"`
	Certificate       string `json:"certificate"`
	CertificateExists bool   `json:"certificate_exists"`
	Origin            string `json:"origin"`
	// Subject, Expires, CA and Usage are fields of the certificate.
	Subject string     `json:"subject,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	CA      bool       `json:"ca"`
	Usage   []string   `json:"usage"`

	UEFI       bool   `json:"uefi"`
	SecureBoot string `json:"secure_boot"`
	// Lockdown is omitted where the kernel does not tell.
	Lockdown           string `json:"lockdown,omitempty"`
	SigEnforce         bool   `json:"sig_enforce"`
	SignaturesRequired bool   `json:"signatures_required"`

	// Keyrings are the kernel's keyrings that contain the certificate, Lists
	// the firmware's lists (MokList and db) that contain it.
	Keyrings []string `json:"keyrings"`
	Lists    []string `json:"lists"`
	Pending  bool     `json:"pending"`
	Revoked  bool     `json:"revoked"`
	// Verdict is "trusted", "refused", "untrusted" where modules load even so,
	// or "none" where there is no key to sign with.
	Verdict string `json:"verdict"`
}

// mokSchema is the version of the JSON that mok status prints.
const mokSchema = 1

// MOK reports the signing key and its trust on this machine. The status is 1
// where modules signed with that key, or unsigned ones, are refused.
func MOK(ctx context.Context, m *machine.Machine, q Query) (exit.Code, error) {
	targets, err := m.Targets(q.Choice, m.Running)
	if err != nil {
		return 0, err
	}
	pair, cert, err := m.Certificate(ctx, targets[0])
	if err != nil {
		return 0, err
	}
	t := m.Trust(targets[0], cert)
	s := newMOKStatus(pair, cert, t)
	if q.JSON {
		if err := m.Report.JSON(s); err != nil {
			return 0, err
		}
	} else {
		printMOK(m, s)
	}
	_, broken := pair.Settled()
	switch {
	case s.KeyExists != s.CertificateExists && broken != nil:
		return 0, broken
	case s.Verdict == "refused" && t.Revoked:
		return 0, exit.Errorf(exit.Usage, "%s was revoked", pair.CertPath).
			WithHint("move %s and %s away, then: dkms generate_mok; dkms mok enroll; dkms sign", pair.KeyPath, pair.CertPath)
	case s.Verdict == "refused":
		return 0, exit.Errorf(exit.Usage, "%s", machine.Distrust(t, cert)).WithHint("%s", machine.EnrolHint(t))
	case s.Verdict == "none" && s.SignaturesRequired:
		return 0, exit.Errorf(exit.Usage, "there is no certificate to sign with").
			WithHint("dkms generate_mok makes a key and its certificate")
	}
	return exit.OK, nil
}

func newMOKStatus(pair sign.Pair, cert *x509.Certificate, t *sign.Trust) MOKStatus {
	s := MOKStatus{
		Schema: mokSchema, Key: pair.KeyPath, Certificate: pair.CertPath, Origin: pair.Origin,
		UEFI: t.EFI, SecureBoot: t.SecureBoot.String(), Lockdown: t.Lockdown,
		SigEnforce: t.SigEnforce, SignaturesRequired: t.Enforced(),
		Usage: []string{}, Keyrings: append([]string{}, t.Keyrings...), Lists: []string{},
		Pending: t.Pending, Revoked: t.Revoked, Verdict: "none",
	}
	s.KeyExists, s.CertificateExists = pair.Exists()
	if cert == nil {
		return s
	}
	s.Subject, s.Expires, s.CA, s.Usage = cert.Subject.CommonName, new(cert.NotAfter.UTC()), cert.IsCA, sign.Usage(cert)
	if t.MOK {
		s.Lists = append(s.Lists, "MokList")
	}
	if t.DB {
		s.Lists = append(s.Lists, "db")
	}
	switch {
	case t.Trusted():
		s.Verdict = "trusted"
	case t.Enforced():
		s.Verdict = "refused"
	default:
		s.Verdict = "untrusted"
	}
	return s
}

// printMOK prints s for people.
func printMOK(m *machine.Machine, s MOKStatus) {
	missing := map[bool]string{false: ", missing"}
	m.Report.Result("Signing key: " + s.Key + " (" + s.Origin + missing[s.KeyExists] + ")")
	if s.CertificateExists {
		m.Report.Result("Certificate: " + s.Certificate)
		m.Report.Result("Subject: " + s.Subject)
		m.Report.Result("Valid until: " + s.Expires.Format("2006-01-02"))
		m.Report.Result("Usage: " + strings.Join(s.usage(), ", "))
	} else {
		m.Report.Result("Certificate: none (" + s.Certificate + ")")
	}
	yes := map[bool]string{false: "no", true: "yes"}
	m.Report.Result("UEFI: " + yes[s.UEFI])
	m.Report.Result("Secure Boot: " + s.SecureBoot)
	if s.Lockdown != "" {
		m.Report.Result("Lockdown: " + s.Lockdown)
	}
	m.Report.Result("Signatures enforced (sig_enforce): " + yes[s.SigEnforce])
	required := map[bool]string{false: "not required", true: "required"}
	m.Report.Result("Module signatures: " + required[s.SignaturesRequired])
	if !s.CertificateExists {
		return
	}
	m.Report.Result("Certificate is known to: " + strings.Join(s.places(), ", "))
	if s.Verdict == "refused" && s.Pending {
		m.Report.Result("Verdict: modules signed with this key are refused until the enrolment is confirmed")
		return
	}
	m.Report.Result("Verdict: " + map[string]string{
		"trusted":   "modules signed with this key load",
		"untrusted": "modules load, and taint the kernel: this key is not trusted",
		"refused":   "modules signed with this key are refused",
	}[s.Verdict])
}

// usage returns the permitted uses of the certificate.
func (s *MOKStatus) usage() []string {
	list := s.Usage
	if s.CA {
		list = append([]string{"CA"}, list...)
	}
	if len(list) == 0 {
		return []string{"not limited"}
	}
	return list
}

// places returns where the certificate is enrolled.
func (s *MOKStatus) places() []string {
	names := map[string]string{"MokList": "machine owner keys (MokList)", "db": "firmware (db)"}
	places := append([]string{}, s.Keyrings...)
	for _, list := range s.Lists {
		places = append(places, names[list])
	}
	if s.Pending {
		places = append(places, "waiting for confirmation at the next start (MokNew)")
	}
	if s.Revoked {
		places = append(places, "revoked (dbx or MokListX)")
	}
	if len(places) == 0 {
		return []string{"nowhere"}
	}
	return places
}
