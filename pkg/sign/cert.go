package sign

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ReadCertificate reads the first certificate of a PEM file, or the certificate
// in a DER file. If the standard library cannot read the certificate (an
// unusual curve, a negative serial number), only the names, the serial number
// and the dates are set.
func ReadCertificate(path string) (*x509.Certificate, error) {
	certs, err := readCertificates(path)
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

// parseCertificates returns at least one certificate or an error.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if !isCertificate(block) {
			continue
		}
		c, err := parseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) > 0 {
		return certs, nil
	}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		return nil, errors.New("no certificate in it")
	}
	c, err := parseCertificate(data)
	return []*x509.Certificate{c}, err
}

func isCertificate(block *pem.Block) bool {
	return block.Type == "CERTIFICATE" || block.Type == "X509 CERTIFICATE"
}

// holdsCertificate reports whether the file at path is PEM with a certificate.
func holdsCertificate(path string) bool {
	rest, err := readSmall(path)
	if err != nil {
		return false
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if isCertificate(block) {
			return true
		}
	}
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		return cert, nil
	}
	if cert = foreignCertificate(der); cert == nil {
		return nil, fmt.Errorf("not a usable certificate: %w", err)
	}
	return cert, nil
}

// foreignCertificate reads the fields that a signature refers to from a
// certificate that the standard library refuses; it returns nil if der is not a
// certificate.
func foreignCertificate(der []byte) *x509.Certificate {
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	var tbs struct {
		Version   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial    *big.Int
		Algorithm pkix.AlgorithmIdentifier
		Issuer    asn1.RawValue
		Validity  struct{ NotBefore, NotAfter time.Time }
		Subject   asn1.RawValue
		Key       asn1.RawValue
	}
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil || len(rest) != 0 {
		return nil
	}
	// The extensions, after the key, do not matter; a structure may be longer
	// than its Go counterpart.
	if _, err := asn1.Unmarshal(outer.TBS.FullBytes, &tbs); err != nil {
		return nil
	}
	cert := &x509.Certificate{
		Raw:                     der,
		RawTBSCertificate:       outer.TBS.FullBytes,
		RawIssuer:               tbs.Issuer.FullBytes,
		RawSubject:              tbs.Subject.FullBytes,
		RawSubjectPublicKeyInfo: tbs.Key.FullBytes,
		Version:                 tbs.Version + 1,
		SerialNumber:            tbs.Serial,
		NotBefore:               tbs.Validity.NotBefore,
		NotAfter:                tbs.Validity.NotAfter,
	}
	fillName(&cert.Issuer, cert.RawIssuer)
	fillName(&cert.Subject, cert.RawSubject)
	return cert
}

func fillName(name *pkix.Name, raw []byte) {
	var rdns pkix.RDNSequence
	if _, err := asn1.Unmarshal(raw, &rdns); err == nil {
		name.FillFromRDNSequence(&rdns)
	}
}

// Usage names the permitted uses of the key of cert, as in RFC 5280; an empty
// list means that the use is not limited.
func Usage(cert *x509.Certificate) []string {
	list := []string{}
	for use := x509.KeyUsageDigitalSignature; use <= x509.KeyUsageDecipherOnly; use <<= 1 {
		if cert.KeyUsage&use != 0 {
			list = append(list, use.String())
		}
	}
	for _, use := range cert.ExtKeyUsage {
		list = append(list, use.String())
	}
	for _, oid := range cert.UnknownExtKeyUsage {
		name := oid.String()
		if oid.Equal(modulesOnly()) {
			name = "kernel modules only"
		}
		list = append(list, name)
	}
	return list
}

// modulesOnly is the key usage that makes shim refuse a key for boot loaders
// and kernels.
func modulesOnly() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 2312, 16, 1, 2}
}
