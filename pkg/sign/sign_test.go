package sign

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the name that is short.
var lack = testkit.Lack

// need returns the path of a program that judges, or ends the test.
func need(t testing.TB, name string) string {
	t.Helper()
	testkit.Need(t, name)
	path, _ := exec.LookPath(name)
	return path
}

// needLibrary returns the path of a library below the system's directories.
func needLibrary(t testing.TB, below string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib*/*/", "/usr/lib*/"} {
		if found, _ := filepath.Glob(pattern + below); len(found) > 0 {
			return found[0]
		}
	}
	lack(t, "no "+below)
	return ""
}

// needSignFile returns a kernel's sign-file program.
func needSignFile(t testing.TB) string {
	t.Helper()
	for _, pattern := range []string{
		"/usr/lib/linux-kbuild-*/scripts/sign-file",
		"/lib/modules/*/build/scripts/sign-file",
		"/usr/src/*/scripts/sign-file",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	lack(t, "no kernel headers with sign-file")
	return ""
}

func run(t testing.TB, argv ...string) string {
	t.Helper()
	return runEnv(t, nil, argv...)
}

func runEnv(t testing.TB, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// newPair has openssl make a key and a DER certificate; newkey is the
// argument of -newkey, and more are options.
func newPair(t testing.TB, newkey string, more ...string) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{KeyPath: filepath.Join(dir, "key.pem"), CertPath: filepath.Join(dir, "cert.der")}
	argv := append([]string{need(t, "openssl"), "req", "-new", "-x509", "-nodes", "-days", "100", "-subj", "/O=Test/CN=test key",
		"-newkey", newkey, "-keyout", p.KeyPath, "-outform", "DER", "-out", p.CertPath}, more...)
	run(t, argv...)
	return p
}

func runner() *system.Runner { return system.NewRunner(system.ThisHost(os.Environ())) }

func mustOpen(t testing.TB, p Pair, o Options) *Signer {
	t.Helper()
	if o.Hash == "" {
		o.Hash = "sha256"
	}
	s, err := Open(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSign(t testing.TB, s *Signer, payload []byte) []byte {
	t.Helper()
	sig, err := s.Sign(context.Background(), payload)
	if err != nil {
		t.Fatal(err)
	}
	ordered := ""
	if s.hash != nil {
		ordered = s.hash.name
	}
	if err := VerifyOrdered(sig, payload, s.Certificate(), ordered); err != nil {
		t.Fatal(err)
	}
	return sig
}

func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// judge is what sign-file appends to payload, without the trailer.
func judge(t testing.TB, p Pair, hash string, payload []byte, env ...string) []byte {
	t.Helper()
	file := write(t, filepath.Join(t.TempDir(), "m.ko"), payload)
	runEnv(t, env, needSignFile(t), hash, p.KeyPath, p.CertPath, file)
	signed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := cut(signed, payload)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestSignRSALikeSignFile(t *testing.T) {
	payload := noise(70_000)
	for _, bits := range []string{"rsa:2048", "rsa:3072", "rsa:4096"} {
		p := newPair(t, bits)
		for _, d := range digests() {
			t.Run(bits+"/"+d.name, func(t *testing.T) {
				want := judge(t, p, d.name, payload)
				got := mustSign(t, mustOpen(t, p, Options{Hash: d.name}), payload)
				if !bytes.Equal(got, want) {
					t.Errorf("Sign = %x; sign-file made %x", got, want)
				}
			})
		}
	}
}

func TestSignUnusualSubjects(t *testing.T) {
	payload := noise(100)
	for _, subject := range []string{"/CN=Ärger mit Umlauten", "/C=DE/O=A/OU=B/CN=C/emailAddress=a@b.c", "/O=only"} {
		p := newPair(t, "rsa:2048", "-utf8", "-subj", subject, "-set_serial", "0x80ffffffffffffffffffffffffffffffffffff01")
		want := judge(t, p, "sha256", payload)
		if got := mustSign(t, mustOpen(t, p, Options{}), payload); !bytes.Equal(got, want) {
			t.Errorf("%s: Sign = %x; sign-file made %x", subject, got, want)
		}
	}
}

// skeleton cuts the signature itself, which is random and may vary by a few
// bytes in length, out of an ECDSA signature.
func skeleton(t *testing.T, pkcs7 []byte) string {
	t.Helper()
	si, err := decode(pkcs7)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %x %v %v", si.Version, si.Signer.FullBytes, si.Digest, si.Algorithm)
}

func TestSignECDSA(t *testing.T) {
	payload := noise(5000)
	for _, curve := range []string{"P-224", "P-256", "P-384", "P-521"} {
		p := newPair(t, "ec", "-pkeyopt", "ec_paramgen_curve:"+curve)
		for _, d := range digests() {
			t.Run(curve+"/"+d.name, func(t *testing.T) {
				got := mustSign(t, mustOpen(t, p, Options{Hash: d.name}), payload)
				if strings.HasPrefix(d.name, "sha3") {
					return // OpenSSL 3.0 has no name for ECDSA with SHA-3 in CMS
				}
				opensslVerify(t, p, got, payload)
				want := judge(t, p, d.name, payload)
				if g, w := skeleton(t, got), skeleton(t, want); g != w {
					t.Errorf("Sign made %s; sign-file made %s", g, w)
				}
				if err := VerifyOrdered(want, payload, mustOpen(t, p, Options{}).Certificate(), d.name); err != nil {
					t.Errorf("VerifyOrdered of sign-file's signature: %v", err)
				}
			})
		}
	}
}

func opensslVerify(t *testing.T, p Pair, sig, payload []byte) {
	t.Helper()
	dir := t.TempDir()
	run(t, need(t, "openssl"), "cms", "-verify", "-binary", "-noverify", "-inform", "DER",
		"-in", write(t, filepath.Join(dir, "sig"), sig),
		"-content", write(t, filepath.Join(dir, "m.ko"), payload),
		"-certfile", p.CertPath, "-out", "/dev/null")
}

func TestModinfoShowsSigner(t *testing.T) {
	modinfo := need(t, "modinfo")
	payload := tinyModule()
	for _, p := range []Pair{newPair(t, "rsa:2048"), newPair(t, "ec", "-pkeyopt", "ec_paramgen_curve:P-384")} {
		sig := mustSign(t, mustOpen(t, p, Options{Hash: "sha384"}), payload)
		file := write(t, filepath.Join(t.TempDir(), "tiny.ko"), appended(payload, sig))
		for field, want := range map[string]string{"license": "GPL", "sig_id": "PKCS#7", "signer": "test key", "sig_hashalgo": "sha384"} {
			if got := strings.TrimSpace(run(t, modinfo, "-F", field, file)); got != want {
				t.Errorf("modinfo -F %s = %q; want %q", field, got, want)
			}
		}
	}
}

// tinyModule is a relocatable ELF file for x86-64 with nothing in it but a
// .modinfo section.
func tinyModule() []byte {
	const names, info = "\x00.modinfo\x00.shstrtab\x00", "license=GPL\x00"
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: 64 + uint64(len(names)+len(info)), Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2,
	}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	put(header)
	b.WriteString(names + info)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 64 + uint64(len(names)), Size: uint64(len(info)), Addralign: 1})
	put(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: 64, Size: uint64(len(names)), Addralign: 1})
	return b.Bytes()
}

// appended is payload with its signature and the kernel's trailer.
func appended(payload, sig []byte) []byte {
	b := append(bytes.Clone(payload), sig...)
	b = append(b, 0, 0, 2, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(sig)))
	return append(b, magic...)
}

func TestCut(t *testing.T) {
	payload := []byte("payload")
	good := appended(payload, []byte("signature"))
	if got, err := cut(good, payload); err != nil || string(got) != "signature" {
		t.Errorf("cut = %q, %v; want signature", got, err)
	}
	badSize := bytes.Clone(good)
	badSize[len(good)-len(magic)-1]++
	badKind := bytes.Clone(good)
	badKind[len(payload)+len("signature")+2] = 1
	for name, signed := range map[string][]byte{
		"unsigned": payload, "other payload": good[1:], "size": badSize, "kind": badKind,
		"empty signature": appended(payload, nil), "magic only": append(bytes.Clone(payload), magic...),
	} {
		if got, err := cut(signed, payload); err == nil {
			t.Errorf("cut(%s) = %q; want an error", name, got)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	p, other := newPair(t, "rsa:2048"), newPair(t, "rsa:2048")
	payload := noise(1000)
	s := mustOpen(t, p, Options{})
	sig := mustSign(t, s, payload)
	changed := bytes.Clone(payload)
	changed[500] ^= 1
	if err := Verify(sig, changed, s.Certificate()); err == nil {
		t.Error("Verify of a changed payload = nil; want an error")
	}
	if err := Verify(sig, payload, mustOpen(t, other, Options{}).Certificate()); err == nil {
		t.Error("Verify with another certificate = nil; want an error")
	}
	for i := range sig {
		bad := bytes.Clone(sig)
		bad[i] ^= 0x55
		if err := Verify(bad, payload, s.Certificate()); err == nil && !harmless(sig, bad) {
			t.Errorf("Verify with byte %d of %d changed = nil; want an error", i, len(sig))
		}
	}
	if err := Verify(append(bytes.Clone(sig), 0), payload, s.Certificate()); err == nil {
		t.Error("Verify with a byte too many = nil; want an error")
	}
}

// harmless reports whether the two differ only in what says nothing about the
// payload: the outer list of digests, and the name of the public key's
// algorithm, which is that of the certificate.
func harmless(good, bad []byte) bool {
	a, errA := decode(good)
	b, errB := decode(bad)
	return errA == nil && errB == nil && bytes.Equal(a.Signature, b.Signature) &&
		bytes.Equal(a.Signer.FullBytes, b.Signer.FullBytes) && a.Digest.Algorithm.Equal(b.Digest.Algorithm)
}

func TestVerifySubjectKeyID(t *testing.T) {
	p := newPair(t, "rsa:2048")
	payload := noise(100)
	file := write(t, filepath.Join(t.TempDir(), "m.ko"), payload)
	run(t, needSignFile(t), "-k", "sha256", p.KeyPath, p.CertPath, file)
	signed, _ := os.ReadFile(file)
	sig, err := cut(signed, payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(sig, payload, mustOpen(t, p, Options{}).Certificate()); err != nil {
		t.Errorf("Verify = %v; want nil", err)
	}
	if err := Verify(sig, payload, mustOpen(t, newPair(t, "rsa:2048"), Options{}).Certificate()); err == nil {
		t.Error("Verify with another certificate = nil; want an error")
	}
}

func TestVerifyRefusesAttributes(t *testing.T) {
	p := newPair(t, "rsa:2048")
	dir := t.TempDir()
	cert := filepath.Join(dir, "cert.pem")
	run(t, need(t, "openssl"), "x509", "-inform", "DER", "-in", p.CertPath, "-out", cert)
	file, out := write(t, filepath.Join(dir, "m.ko"), []byte("x")), filepath.Join(dir, "sig")
	run(t, "openssl", "cms", "-sign", "-binary", "-nocerts", "-md", "sha256", "-in", file, "-signer", cert,
		"-inkey", p.KeyPath, "-outform", "DER", "-out", out)
	sig, _ := os.ReadFile(out)
	err := Verify(sig, []byte("x"), mustOpen(t, p, Options{}).Certificate())
	if err == nil || !strings.Contains(err.Error(), "attributes") {
		t.Errorf("Verify of a signature with attributes = %v; want an error about them", err)
	}
}

// TestVerifyMLDSA: sign-file 7.2 with OpenSSL 3.6 made the signature in
// testdata, with signed attributes. Only OpenSSL can verify it.
func TestVerifyMLDSA(t *testing.T) {
	certs, err := readCertificates("testdata/mldsa65.der")
	if err != nil {
		t.Fatal(err)
	}
	sig, err := os.ReadFile("testdata/mldsa65.p7s")
	if err != nil {
		t.Fatal(err)
	}
	err = Verify(sig, []byte("payload\n"), certs[0])
	if _, foreign := errors.AsType[*foreignError](err); !foreign {
		t.Errorf("Verify of an ML-DSA signature = %v; want that it is left to OpenSSL", err)
	}
	other := mustOpen(t, newPair(t, "rsa:2048"), Options{}).Certificate()
	err = Verify(sig, []byte("payload\n"), other)
	if _, foreign := errors.AsType[*foreignError](err); err == nil || foreign {
		t.Errorf("Verify with another's certificate = %v; want a refusal", err)
	}
}

// TestSignMLDSA needs OpenSSL 3.5 and a sign-file that is linked with it.
func TestSignMLDSA(t *testing.T) {
	program := needSignFile(t)
	if out, err := exec.Command(need(t, "openssl"), "list", "-public-key-algorithms").Output(); err != nil || !strings.Contains(string(out), "ML-DSA") {
		t.Skip("this OpenSSL has no ML-DSA; TestVerifyMLDSA has a signature of one that does")
	}
	for _, set := range []string{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"} {
		p := newPair(t, set)
		s := mustOpen(t, p, Options{Hash: "sha512", SignFile: program, Run: runner(), Temp: t.TempDir()})
		payload := noise(3000)
		sig, err := s.Sign(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		opensslVerify(t, pemCert(t, p), sig, payload)
	}
}

// Neither a signature that brings its own content nor one by SHA-1 is what a
// kernel takes from elsewhere; openssl makes both, and finds them good.
func TestVerifyRefusesWhatOpenSSLTakes(t *testing.T) {
	p := pemCert(t, newPair(t, "rsa:2048"))
	payload := []byte("x")
	file := write(t, filepath.Join(t.TempDir(), "m.ko"), payload)
	for want, more := range map[string][]string{
		"content of its own": {"-md", "sha256", "-nodetach"},
		"SHA-1":              {"-md", "sha1"},
		"":                   {"-md", "sha256"},
	} {
		out := filepath.Join(t.TempDir(), "sig")
		run(t, append([]string{need(t, "openssl"), "cms", "-sign", "-binary", "-nocerts", "-noattr", "-in", file, "-signer", p.CertPath,
			"-inkey", p.KeyPath, "-outform", "DER", "-out", out}, more...)...)
		run(t, "openssl", "cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-in", out, "-content", file, "-certfile", p.CertPath, "-out", os.DevNull)
		sig, _ := os.ReadFile(out)
		cert := mustOpen(t, p, Options{}).Certificate()
		err := Verify(sig, payload, cert)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Verify after %v = %v; want an error about %q", more, err, want)
		}
		if _, err := VerifyAny(sig, payload, []*x509.Certificate{cert}); (err == nil) != (want == "") {
			t.Errorf("VerifyAny after %v = %v", more, err)
		}
	}
}

// What is no file is nothing to wait for.
func TestReadFIFO(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, read := range map[string]func() error{
		"Certificates of it":        func() error { _, err := Certificates(pipe); return err },
		"Certificates of directory": func() error { _, err := Certificates(filepath.Dir(pipe)); return err },
		"ReadCertificate":           func() error { _, err := ReadCertificate(pipe); return err },
		"readKey":                   func() error { _, err := readKey(pipe, ""); return err },
	} {
		if err := read(); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s = %v; want that it is no regular file", what, err)
		}
	}
}

func TestOpenMismatch(t *testing.T) {
	a, b := newPair(t, "rsa:2048"), newPair(t, "rsa:2048")
	_, err := Open(Pair{KeyPath: a.KeyPath, CertPath: b.CertPath}, Options{Hash: "sha256"})
	if err == nil || !strings.Contains(err.Error(), "does not belong") || exit.Hint(err) == "" {
		t.Errorf("Open = %v (hint %q); want a mismatch with a hint", err, exit.Hint(err))
	}
}

func TestOpenErrors(t *testing.T) {
	p := newPair(t, "rsa:2048")
	junk := write(t, filepath.Join(t.TempDir(), "junk"), []byte("junk"))
	missing := filepath.Join(t.TempDir(), "none")
	tests := []struct {
		name string
		pair Pair
		o    Options
		want string
	}{
		{"no hash", p, Options{}, "no hash"},
		{"key missing", Pair{KeyPath: missing, CertPath: p.CertPath}, Options{Hash: "sha1"}, missing + ": no such file"},
		{"cert missing", Pair{KeyPath: p.KeyPath, CertPath: missing}, Options{Hash: "sha1"}, missing + ": no such file"},
		{"key junk", Pair{KeyPath: junk, CertPath: p.CertPath}, Options{Hash: "sha1"}, junk + ": neither"},
		{"cert junk", Pair{KeyPath: p.KeyPath, CertPath: junk}, Options{Hash: "sha1"}, junk + ": not a usable"},
		{"cert is a key", Pair{KeyPath: p.KeyPath, CertPath: p.KeyPath}, Options{Hash: "sha1"}, "no certificate"},
		{"key is a cert", Pair{KeyPath: p.CertPath, CertPath: p.CertPath}, Options{Hash: "sha1"}, "private key"},
		{"unknown hash", p, Options{Hash: "md4"}, "the hash md4 needs the kernel's sign-file"},
		{"token", Pair{KeyPath: "pkcs11:object=x", CertPath: p.CertPath}, Options{Hash: "sha1"}, "PKCS#11 token needs"},
		{"no program", p, Options{Hash: "sha1", UseSignFile: true, SignFile: missing, Run: runner()}, "not a program"},
	}
	for _, tt := range tests {
		if s, err := Open(tt.pair, tt.o); s != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open = %v, %v; want no signer and ...%s...", tt.name, s, err, tt.want)
		}
	}
}

func TestSignName(t *testing.T) {
	s := mustOpen(t, newPair(t, "rsa:2048"), Options{})
	if s.Name() != "test key" || !s.InProcess() {
		t.Errorf("Name() = %q, InProcess() = %v; want test key, true", s.Name(), s.InProcess())
	}
}

func TestSignConcurrently(t *testing.T) {
	s := mustOpen(t, newPair(t, "rsa:2048"), Options{Hash: "sha512"})
	payload := noise(10_000)
	want := mustSign(t, s, payload)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := s.Sign(context.Background(), payload); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Sign = %x, %v; want %x", got, err, want)
			}
		})
	}
	wg.Wait()
}

func TestSignCancelled(t *testing.T) {
	s := mustOpen(t, newPair(t, "rsa:2048"), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Sign(ctx, nil); err != context.Canceled {
		t.Errorf("Sign = %v; want %v", err, context.Canceled)
	}
}

func FuzzVerify(f *testing.F) {
	p := newPair(f, "rsa:2048")
	s := mustOpen(f, p, Options{})
	payload := []byte("payload")
	good := mustSign(f, s, payload)
	f.Add(good)
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, sig []byte) {
		if Verify(sig, payload, s.Certificate()) == nil && !harmless(good, sig) {
			t.Errorf("Verify(%x) = nil", sig)
		}
	})
}

func benchSizes() map[string]int {
	return map[string]int{"50K": 50 << 10, "1M": 1 << 20, "20M": 20 << 20}
}

func BenchmarkSign(b *testing.B) {
	s := mustOpen(b, newPair(b, "rsa:2048"), Options{})
	for name, size := range benchSizes() {
		payload := noise(size)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := s.Sign(context.Background(), payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSignFile(b *testing.B) {
	p, program := newPair(b, "rsa:2048"), needSignFile(b)
	for name, size := range benchSizes() {
		file := write(b, filepath.Join(b.TempDir(), "m.ko"), noise(size))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				run(b, program, "sha256", p.KeyPath, p.CertPath, file, file+".signed")
			}
		})
	}
}
