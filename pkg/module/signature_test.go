package module

import (
	"bytes"
	"encoding/asn1"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// signer makes a key and certificate with openssl and returns their paths.
func signer(t *testing.T, subject, serial string, key ...string) (private, cert string) {
	t.Helper()
	dir := t.TempDir()
	private, cert = filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.der")
	argv := []string{"openssl", "req", "-x509", "-nodes", "-batch", "-utf8", "-days", "2", "-sha256", "-outform", "DER",
		"-subj", subject, "-set_serial", serial, "-keyout", private, "-out", cert}
	output(t, append(argv, key...)...)
	return private, cert
}

// TestSignature lets sign-file sign and modinfo tell.
func TestSignature(t *testing.T) {
	m := buildModules(t)
	need(t, "openssl")
	tool := filepath.Join(m.kernel, "scripts/sign-file")
	need(t, tool)
	rsa := []string{"-newkey", "rsa:2048"}
	for _, test := range []struct {
		subject, serial, hash string
		key                   []string
	}{
		{"/CN=DKMS module signing key", "0x1a2b3c", "sha256", rsa},
		{"/O=Org/OU=Unit/CN=W\u00fcrde \u03a9/emailAddress=a@b.c", "0x80ffee00112233445566778899aabbccddeeff01", "sha512", rsa},
		{"/CN=384", "0", "sha384", rsa},
		{"/O=no common name/OU=unit", "0x7f", "sha1", rsa},
		{"/CN=one/CN=two", "0x80", "sha256", rsa},
		{"/CN=elliptic", "0x0102", "sha384", []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"}},
	} {
		t.Run(test.subject, func(t *testing.T) {
			key, cert := signer(t, test.subject, test.serial, test.key...)
			path := writeFile(t, filepath.Join(t.TempDir(), "judge-first.ko"), readFile(t, m.first))
			output(t, tool, test.hash, key, cert, path)
			checkSignature(t, path, readFile(t, m.first))
		})
	}
}

func checkSignature(t *testing.T, path string, plain []byte) {
	t.Helper()
	info, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	sig := info.Signature
	if sig == nil {
		t.Fatal("no signature found")
	}
	for name, got := range map[string]string{"signer": sig.Signer, "sig_key": sig.KeyID, "sig_hashalgo": sig.Hash} {
		if want := field(t, path, name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	data := readFile(t, path)
	payload, pkcs7, ok := CutSignature(data)
	if !ok || !bytes.Equal(payload, plain) || !bytes.Equal(pkcs7, sig.PKCS7) {
		t.Errorf("CutSignature = %d bytes, %d bytes, %v; want %d bytes", len(payload), len(pkcs7), ok, len(plain))
	}
	if !bytes.Equal(AppendSignature(payload, pkcs7), data) {
		t.Error("AppendSignature does not undo CutSignature")
	}
	if info.Size != int64(len(data)) {
		t.Errorf("size = %d; want %d", info.Size, len(data))
	}
}

// TestSignatureByKeyID reads what sign-file -k makes. kmod cannot tell the
// key then; openssl can.
func TestSignatureByKeyID(t *testing.T) {
	m := buildModules(t)
	need(t, "openssl")
	tool := filepath.Join(m.kernel, "scripts/sign-file")
	need(t, tool)
	key, cert := signer(t, "/CN=by key", "1", "-newkey", "rsa:2048")
	path := writeFile(t, filepath.Join(t.TempDir(), "judge-first.ko"), readFile(t, m.first))
	output(t, tool, "-k", "sha256", key, cert, path)
	info, err := Read(path)
	if err != nil || info.Signature == nil {
		t.Fatalf("Read: %+v, %v", info, err)
	}
	text := output(t, "openssl", "x509", "-inform", "DER", "-in", cert, "-noout", "-ext", "subjectKeyIdentifier")
	if id := info.Signature.KeyID; len(id) != 59 || !strings.Contains(text, id) || info.Signature.Hash != "sha256" {
		t.Errorf("signature = %+v; want the key identifier in %q", info.Signature, text)
	}
}

// TestCutSignature goes through the kernel's rules for the trailer.
func TestCutSignature(t *testing.T) {
	good := AppendSignature([]byte("payload"), []byte("signature"))
	change := func(at int, b byte) []byte {
		data := bytes.Clone(good)
		data[len(data)-trailerSize+at] = b
		return data
	}
	for name, test := range map[string]struct {
		data                []byte
		ok                  bool
		payload, descriptor string
	}{
		"good":                 {good, true, "payload", "signature"},
		"twice":                {AppendSignature(good, []byte("2")), true, string(good), "2"},
		"empty signature":      {AppendSignature([]byte("p"), nil), true, "p", ""},
		"empty payload":        {AppendSignature(nil, []byte("signature")), false, "", ""},
		"only the trailer":     {AppendSignature(nil, nil), false, "", ""},
		"only the magic":       {[]byte(signatureMagic), false, "", ""},
		"nothing":              {nil, false, "", ""},
		"unsigned":             {[]byte("payload"), false, "", ""},
		"not at the end":       {append(bytes.Clone(good), 0), false, "", ""},
		"algorithm":            {change(0, 1), false, "", ""},
		"hash":                 {change(1, 4), false, "", ""},
		"old kind":             {change(2, 1), false, "", ""},
		"signer length":        {change(3, 1), false, "", ""},
		"key length":           {change(4, 1), false, "", ""},
		"padding":              {change(7, 1), false, "", ""},
		"longer than the file": {change(8, 0x80), false, "", ""},
		"as long as the file":  {change(11, 16), false, "", ""},
		"one byte left":        {change(11, 15), true, "p", "ayloadsignature"},
	} {
		payload, pkcs7, ok := CutSignature(test.data)
		want := test.payload
		if !test.ok {
			want = string(test.data)
		}
		if ok != test.ok || string(payload) != want || string(pkcs7) != test.descriptor {
			t.Errorf("%s: CutSignature = %q, %q, %v; want %q, %q, %v", name, payload, pkcs7, ok, want, test.descriptor, test.ok)
		}
		sig, err := signatureOf(bytes.NewReader(test.data), int64(len(test.data)))
		marked := bytes.HasSuffix(test.data, []byte(signatureMagic)) && len(test.data) >= trailerSize
		if err != nil || (sig != nil) != marked || sig != nil && string(sig.PKCS7) != test.descriptor {
			t.Errorf("%s: signatureOf = %+v, %v", name, sig, err)
		}
	}
}

// TestNames covers what neither openssl nor sign-file makes willingly.
func TestNames(t *testing.T) {
	for _, test := range []struct {
		tag   int
		value string
		want  string
	}{
		{asn1.TagUTF8String, "W\u00fcrde", "W\u00fcrde"},
		{asn1.TagT61String, "W\xfcrde", "W\ufffdrde"},
		{asn1.TagBMPString, "\x00W\x03\xa9\xd8\x3d\xde\x00", "W\u03a9\U0001f600"},
		{asn1.TagBMPString, "\x00W\x03", "W"},
	} {
		if got := text(asn1.RawValue{Tag: test.tag, Bytes: []byte(test.value)}); got != test.want {
			t.Errorf("text(%d, %q) = %q; want %q", test.tag, test.value, got, test.want)
		}
	}
	for dotted, want := range map[string]string{
		"1.2.840.113549.2.5": "md5", "1.2.156.10197.1.401": "sm3", "1.2.3.4": "1.2.3.4",
		"2.16.840.1.101.3.4.2.4": "sha224", "2.16.840.1.101.3.4.2.8": "sha3-256",
		"2.16.840.1.101.3.4.2.9": "sha3-384", "2.16.840.1.101.3.4.2.10": "sha3-512",
	} {
		var oid asn1.ObjectIdentifier
		for part := range strings.SplitSeq(dotted, ".") {
			n, err := strconv.Atoi(part)
			if err != nil {
				t.Fatal(err)
			}
			oid = append(oid, n)
		}
		der, err := asn1.Marshal(oid)
		if err != nil {
			t.Fatal(err)
		}
		if got := hashName(der); got != want {
			t.Errorf("hashName(%s) = %q; want %q", dotted, got, want)
		}
	}
}

// TestCutSignatureAliasing: appending to a payload must not write into what
// was cut off.
func TestCutSignatureAliasing(t *testing.T) {
	data := AppendSignature([]byte("payload"), []byte("signature"))
	payload, pkcs7, _ := CutSignature(data)
	_ = append(payload, "XXXXXXXXX"...)
	_ = append(pkcs7, "XXXXXXXXX"...)
	if !bytes.Equal(data, AppendSignature([]byte("payload"), []byte("signature"))) {
		t.Errorf("append wrote into the file: %q", data)
	}
}

func FuzzCutSignature(f *testing.F) {
	f.Add(AppendSignature([]byte("payload"), []byte("signature")))
	f.Add([]byte(signatureMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		payload, pkcs7, ok := CutSignature(data)
		if ok && !bytes.Equal(AppendSignature(payload, pkcs7), data) || !ok && !bytes.Equal(payload, data) {
			t.Fatalf("CutSignature(%q) = %q, %q, %v", data, payload, pkcs7, ok)
		}
	})
}

func FuzzParsePKCS7(f *testing.F) {
	f.Add([]byte{0x30, 0x80})
	f.Add([]byte("\x30\x1c\x06\x09*\x86H\x86\xf7\x0d\x01\x07\x02\xa0\x0f\x30\x0d\x02\x01\x01\x31\x00\x30\x00\x31\x04\x30\x02\x02\x00"))
	f.Fuzz(func(t *testing.T, der []byte) {
		if sig := parsePKCS7(der); !bytes.Equal(sig.PKCS7, der) {
			t.Fatalf("parsePKCS7(%x).PKCS7 = %x", der, sig.PKCS7)
		}
	})
}
