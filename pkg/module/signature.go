package module

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"unicode/utf16"
)

// Signature is the signature at the end of a module, as modinfo shows it. A
// field that cannot be read stays empty. All fields are empty where the kernel
// refuses the trailer: such a module has a signature, but a worthless one.
type Signature struct {
	// Signer is the common name of the certificate's issuer. A key made to sign
	// modules is its own issuer.
	Signer string
	// KeyID is the certificate's serial number, or its subject key identifier
	// where the signature refers to that: hex, with colons.
	KeyID string
	// Hash is the kernel's name of the digest.
	Hash string
	// PKCS7 is the signature itself.
	PKCS7 []byte
}

// The end of a signed module: PKCS#7 message, descriptor, magic. The descriptor
// is eight bytes, all 0 except the third, which means PKCS#7, followed by the
// length of the message.
const (
	signatureMagic = "~Module signature appended~\n"
	descriptorSize = 12
	trailerSize    = descriptorSize + len(signatureMagic)
	idPKCS7        = 2
)

// CutSignature removes one signature trailer from a module. Where there is no
// trailer, or the kernel refuses it as malformed, ok is false and payload is
// data.
func CutSignature(data []byte) (payload, pkcs7 []byte, ok bool) {
	tail := data[max(0, len(data)-trailerSize):]
	n, ok := trailer(tail, int64(len(data)))
	if !ok {
		return data, nil, false
	}
	end := len(data) - trailerSize
	start := end - int(n)
	return data[:start:start], data[start:end:end], true
}

// ReadSignature reads the last signature of a module that is not compressed; it
// returns nil where there is none.
func ReadSignature(data []byte) *Signature {
	if _, pkcs7, ok := CutSignature(data); ok {
		return parsePKCS7(pkcs7)
	}
	return nil
}

// trailer returns the length of the signature that the last bytes of a file of
// the given size announce. ok reports whether the kernel accepts the trailer.
func trailer(tail []byte, size int64) (n int64, ok bool) {
	if len(tail) != trailerSize || !isMarked(tail) {
		return 0, false
	}
	if !bytes.Equal(tail[:8], []byte{0, 0, idPKCS7, 0, 0, 0, 0, 0}) {
		return 0, false
	}
	n = int64(binary.BigEndian.Uint32(tail[8:]))
	return n, n < size-int64(trailerSize)
}

func isMarked(tail []byte) bool { return bytes.HasSuffix(tail, []byte(signatureMagic)) }

// AppendSignature returns payload with the PKCS#7 message and its trailer
// behind it, in memory of its own.
func AppendSignature(payload, pkcs7 []byte) []byte {
	var descriptor [descriptorSize]byte
	descriptor[2] = idPKCS7
	binary.BigEndian.PutUint32(descriptor[8:], uint32(len(pkcs7)))
	return slices.Concat(payload, pkcs7, descriptor[:], []byte(signatureMagic))
}

// signatureOf reads the signature at the end of r; it returns nil where there
// is none.
func signatureOf(r io.ReaderAt, size int64) (*Signature, error) {
	if size < int64(trailerSize) {
		return nil, nil
	}
	tail := make([]byte, trailerSize)
	end := size - int64(trailerSize)
	if _, err := io.ReadFull(io.NewSectionReader(r, end, int64(trailerSize)), tail); err != nil {
		return nil, err
	}
	if !isMarked(tail) {
		return nil, nil
	}
	n, ok := trailer(tail, size)
	if !ok {
		return &Signature{}, nil
	}
	pkcs7 := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, end-n, n), pkcs7); err != nil {
		return nil, err
	}
	return parsePKCS7(pkcs7), nil
}

// parsePKCS7 finds signer, key and digest in a CMS SignedData message. It walks
// the tree by position, and omits an element that is not at its position.
func parsePKCS7(der []byte) *Signature {
	sig := &Signature{PKCS7: der}
	content := child(children(der), 0)            // ContentInfo
	explicit := child(children(content.Bytes), 1) // [0] EXPLICIT
	signed := children(child(children(explicit.Bytes), 0).Bytes)
	if len(signed) < 4 { // version, digests, content, ..., signers
		return sig
	}
	signer := children(child(children(signed[len(signed)-1].Bytes), 0).Bytes)
	sig.setSigner(child(signer, 1))
	sig.Hash = hashName(child(children(child(signer, 2).Bytes), 0).FullBytes)
	return sig
}

// setSigner reads the SignerIdentifier: issuer and serial number, or [0] with
// the subject key identifier.
func (s *Signature) setSigner(id asn1.RawValue) {
	if id.Class == asn1.ClassContextSpecific && id.Tag == 0 {
		s.KeyID = colonHex(id.Bytes)
		return
	}
	pair := children(id.Bytes)
	s.Signer = commonName(child(pair, 0).Bytes)
	var serial *big.Int
	if _, err := asn1.Unmarshal(child(pair, 1).FullBytes, &serial); err == nil {
		s.KeyID = colonHex(serial.Bytes())
	}
}

// maxChildren bounds how many elements of one ASN.1 sequence are read; a
// signature has fewer than ten.
const maxChildren = 64

func children(der []byte) []asn1.RawValue {
	var list []asn1.RawValue
	for len(der) > 0 && len(list) < maxChildren {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			break
		}
		list = append(list, v)
		der = rest
	}
	return list
}

// child returns element i of list, or an empty element.
func child(list []asn1.RawValue, i int) asn1.RawValue {
	if i >= len(list) {
		return asn1.RawValue{}
	}
	return list[i]
}

// commonName returns the first common name in the content of an X.501 Name. In
// a name without one it returns the last part, as modinfo does.
func commonName(name []byte) string {
	oid := []byte{0x55, 4, 3} // 2.5.4.3
	last := ""
	for _, set := range children(name) {
		for _, attribute := range children(set.Bytes) {
			pair := children(attribute.Bytes)
			if bytes.Equal(child(pair, 0).Bytes, oid) {
				return text(child(pair, 1))
			}
			last = text(child(pair, 1))
		}
	}
	return last
}

// text returns the value of an ASN.1 string of any type; all but BMPString are
// ASCII or UTF-8, or were meant to be.
func text(v asn1.RawValue) string {
	if v.Tag != asn1.TagBMPString {
		return strings.ToValidUTF8(string(v.Bytes), "\uFFFD")
	}
	units := make([]uint16, len(v.Bytes)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(v.Bytes[2*i:])
	}
	return string(utf16.Decode(units))
}

// hashName returns the kernel's name of the digest with the DER object
// identifier oid, or the dotted identifier of an unknown digest.
func hashName(oid []byte) string {
	var id asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(oid, &id); err != nil {
		return ""
	}
	switch dotted := id.String(); dotted {
	case "1.3.14.3.2.26":
		return "sha1"
	case "2.16.840.1.101.3.4.2.1":
		return "sha256"
	case "2.16.840.1.101.3.4.2.2":
		return "sha384"
	case "2.16.840.1.101.3.4.2.3":
		return "sha512"
	case "2.16.840.1.101.3.4.2.4":
		return "sha224"
	case "2.16.840.1.101.3.4.2.8":
		return "sha3-256"
	case "2.16.840.1.101.3.4.2.9":
		return "sha3-384"
	case "2.16.840.1.101.3.4.2.10":
		return "sha3-512"
	case "1.2.156.10197.1.401":
		return "sm3"
	case "1.2.840.113549.2.5":
		return "md5"
	default:
		return dotted
	}
}

func colonHex(b []byte) string {
	parts := make([]string, len(b))
	for i, v := range b {
		parts[i] = fmt.Sprintf("%02X", v)
	}
	return strings.Join(parts, ":")
}
