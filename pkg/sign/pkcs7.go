package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1"   // registers SHA-1
	_ "crypto/sha256" // registers SHA-224 and SHA-256
	_ "crypto/sha3"   // registers SHA-3
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// digest is a hash with its identifiers in PKCS#7.
type digest struct {
	name  string
	hash  crypto.Hash
	oid   asn1.ObjectIdentifier
	ecdsa asn1.ObjectIdentifier // the signature algorithm ecdsa-with-HASH
}

func (d *digest) sum(payload []byte) []byte {
	h := d.hash.New()
	h.Write(payload)
	return h.Sum(nil)
}

// digests lists the values of CONFIG_MODULE_SIG_HASH (kernel/module/Kconfig).
func digests() []digest {
	nist := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, n} }
	sha2 := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, n} }
	sha3 := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, n} }
	return []digest{
		{"sha1", crypto.SHA1, asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}},
		{"sha224", crypto.SHA224, nist(4), sha2(1)},
		{"sha256", crypto.SHA256, nist(1), sha2(2)},
		{"sha384", crypto.SHA384, nist(2), sha2(3)},
		{"sha512", crypto.SHA512, nist(3), sha2(4)},
		{"sha3-256", crypto.SHA3_256, nist(8), sha3(10)},
		{"sha3-384", crypto.SHA3_384, nist(9), sha3(11)},
		{"sha3-512", crypto.SHA3_512, nist(10), sha3(12)},
	}
}

func digestByName(name string) *digest {
	for _, d := range digests() {
		if strings.EqualFold(d.name, name) {
			return &d
		}
	}
	return nil
}

func digestByOID(oid asn1.ObjectIdentifier) *digest {
	for _, d := range digests() {
		if d.oid.Equal(oid) {
			return &d
		}
	}
	return nil
}

func oidData() asn1.ObjectIdentifier       { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1} }
func oidSignedData() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2} }
func oidRSA() asn1.ObjectIdentifier        { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1} }

// The structures are those of RFC 5652, without the fields that a module's
// signature must not have.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content signedData `asn1:"explicit,tag:0"`
}

type signedData struct {
	Version int
	Digests []pkix.AlgorithmIdentifier `asn1:"set"`
	Encap   encapsulated
	Certs   asn1.RawValue `asn1:"optional,tag:0"`
	CRLs    asn1.RawValue `asn1:"optional,tag:1"`
	Signers []signerInfo  `asn1:"set"`
}

type encapsulated struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"optional,tag:0"`
}

type signerInfo struct {
	Version     int
	Signer      asn1.RawValue // issuer and serial number, or [0] subject key id
	Digest      pkix.AlgorithmIdentifier
	SignedAttrs asn1.RawValue `asn1:"optional,tag:0"`
	Algorithm   pkix.AlgorithmIdentifier
	Signature   []byte
	Unsigned    asn1.RawValue `asn1:"optional,tag:1"`
}

type issuerAndSerial struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

// encode wraps a raw signature as sign-file does: no certificate, no
// attributes, no content; the digest's parameters are absent.
func encode(cert *x509.Certificate, d *digest, sig []byte) ([]byte, error) {
	signer, err := asn1.Marshal(issuerAndSerial{asn1.RawValue{FullBytes: cert.RawIssuer}, cert.SerialNumber})
	if err != nil {
		return nil, err
	}
	algorithm := pkix.AlgorithmIdentifier{Algorithm: d.ecdsa}
	if _, ok := cert.PublicKey.(*rsa.PublicKey); ok {
		algorithm = pkix.AlgorithmIdentifier{Algorithm: oidRSA(), Parameters: asn1.NullRawValue}
	}
	ci := contentInfo{Type: oidSignedData()}
	ci.Content.Version = 1
	ci.Content.Digests = []pkix.AlgorithmIdentifier{{Algorithm: d.oid}}
	ci.Content.Encap.Type = oidData()
	ci.Content.Signers = []signerInfo{{
		Version:   1,
		Signer:    asn1.RawValue{FullBytes: signer},
		Digest:    pkix.AlgorithmIdentifier{Algorithm: d.oid},
		Algorithm: algorithm,
		Signature: sig,
	}}
	return asn1.Marshal(ci)
}

// Verify checks that pkcs7 is a signature of payload by the key of cert, in the
// form that the kernel accepts.
func Verify(pkcs7, payload []byte, cert *x509.Certificate) error {
	return VerifyOrdered(pkcs7, payload, cert, "")
}

// VerifyOrdered is [Verify] for a signature that this program has made, with
// the hash of the given name. It accepts SHA-1 for kernels that are configured
// for it; a SHA-1 signature from elsewhere would prove nothing.
func VerifyOrdered(pkcs7, payload []byte, cert *x509.Certificate, ordered string) error {
	si, err := decode(pkcs7)
	if err != nil {
		return err
	}
	if err := si.by(cert); err != nil {
		return err
	}
	if si.isMLDSA() {
		return &foreignError{"an ML-DSA signature"}
	}
	d := digestByOID(si.Digest.Algorithm)
	if d == nil {
		return &foreignError{"the hash " + si.Digest.Algorithm.String()}
	}
	if d.hash == crypto.SHA1 && !strings.EqualFold(ordered, d.name) {
		return errors.New("signature: made with SHA-1, which proves nothing any more and which kernels refuse")
	}
	return checkSignature(cert.PublicKey, d.hash, d.sum(payload), si.Signature)
}

// decode returns the only signer of a module's signature. It refuses what the
// kernel refuses (crypto/asymmetric_keys/pkcs7_parser.c).
func decode(pkcs7 []byte) (*signerInfo, error) {
	var ci contentInfo
	rest, err := asn1.Unmarshal(pkcs7, &ci)
	if err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	sd := &ci.Content
	switch {
	case len(rest) != 0:
		return nil, errors.New("signature: bytes after the end")
	case !ci.Type.Equal(oidSignedData()) || !sd.Encap.Type.Equal(oidData()):
		return nil, errors.New("signature: not signed data")
	case sd.Encap.Content.FullBytes != nil:
		return nil, errors.New("signature: with content of its own, which the kernel refuses for modules")
	case len(sd.Signers) != 1:
		return nil, fmt.Errorf("signature: %d signers; want 1", len(sd.Signers))
	}
	si := &sd.Signers[0]
	if si.SignedAttrs.FullBytes != nil && !si.isMLDSA() {
		return nil, errors.New("signature: signed attributes, which the kernel refuses for modules")
	}
	if sd.Version != si.Version || si.Version != 1 && si.Version != 3 {
		return nil, fmt.Errorf("signature: version %d with signer version %d", sd.Version, si.Version)
	}
	return si, nil
}

// isMLDSA reports whether the signature uses one of the three parameter sets of
// ML-DSA (RFC 9882). OpenSSL 3 makes such signatures only with signed
// attributes, and for these signatures, the kernel accepts signed attributes.
func (si *signerInfo) isMLDSA() bool {
	family, last := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3}, len(si.Algorithm.Algorithm)-1
	if last != len(family) || !si.Algorithm.Algorithm[:last].Equal(family) {
		return false
	}
	set := si.Algorithm.Algorithm[last]
	return set >= 17 && set <= 19
}

// by checks that the signature names the subject of cert as its signer.
func (si *signerInfo) by(cert *x509.Certificate) error {
	if si.Version == 3 {
		id := si.Signer
		if id.Class != asn1.ClassContextSpecific || id.Tag != 0 || !bytes.Equal(id.Bytes, cert.SubjectKeyId) {
			return errors.New("signature: made with another certificate's key")
		}
		return nil
	}
	var id issuerAndSerial
	if rest, err := asn1.Unmarshal(si.Signer.FullBytes, &id); err != nil || len(rest) != 0 {
		return errors.New("signature: bad issuer and serial number")
	}
	if !bytes.Equal(id.Issuer.FullBytes, cert.RawIssuer) || id.Serial.Cmp(cert.SerialNumber) != 0 {
		return errors.New("signature: made with another certificate")
	}
	return nil
}

func checkSignature(public crypto.PublicKey, hash crypto.Hash, sum, sig []byte) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits > maxModulus {
			return fmt.Errorf("signature: by an RSA key of %d bits, which is more than anything takes", bits)
		}
		if err := rsa.VerifyPKCS1v15(key, hash, sum, sig); err != nil {
			return fmt.Errorf("signature: %w", err)
		}
		return nil
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(key, sum, sig) {
			return errors.New("signature: does not verify")
		}
		return nil
	default:
		return &foreignError{fmt.Sprintf("a public key of type %T", public)}
	}
}
