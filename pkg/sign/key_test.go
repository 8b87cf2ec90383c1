package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkms/pkg/exit"
)

// TestKeyForms opens one key in every form that openssl can write it in, and
// compares the signature with that of sign-file where that reads the form.
func TestKeyForms(t *testing.T) {
	openssl := need(t, "openssl")
	p := newPair(t, "rsa:2048")
	ec := newPair(t, "ec", "-pkeyopt", "ec_paramgen_curve:P-384")
	const pin = "pass word"
	enc := func(cipher string, more ...string) []string {
		return append([]string{"pkcs8", "-topk8", "-v2", cipher, "-passout", "pass:" + pin}, more...)
	}
	tests := []struct {
		name      string
		argv      []string
		der       bool // which sign-file does not read
		encrypted bool
	}{
		{"pkcs8", []string{"pkcs8", "-topk8", "-nocrypt"}, false, false},
		{"pkcs8 der", []string{"pkcs8", "-topk8", "-nocrypt", "-outform", "DER"}, true, false},
		{"traditional", []string{"pkey", "-traditional"}, false, false},
		{"traditional der", []string{"pkey", "-traditional", "-outform", "DER"}, true, false},
		{"text before", []string{"pkey", "-text"}, false, false},
		{"aes-128-cbc", enc("aes-128-cbc"), false, true},
		{"aes-192-cbc", enc("aes-192-cbc"), false, true},
		{"aes-256-cbc", enc("aes-256-cbc"), false, true},
		{"des3", enc("des3"), false, true},
		{"encrypted der", enc("aes-256-cbc", "-outform", "DER"), true, true},
		{"prf sha1", enc("aes-256-cbc", "-v2prf", "hmacWithSHA1"), false, true},
		{"prf sha224", enc("aes-256-cbc", "-v2prf", "hmacWithSHA224"), false, true},
		{"prf sha384", enc("des3", "-v2prf", "hmacWithSHA384"), false, true},
		{"prf sha512", enc("aes-128-cbc", "-v2prf", "hmacWithSHA512", "-iter", "10000"), false, true},
		{"legacy aes", []string{"pkey", "-traditional", "-aes-256-cbc", "-passout", "pass:" + pin}, false, true},
		{"legacy des3", []string{"pkey", "-traditional", "-des3", "-passout", "pass:" + pin}, false, true},
	}
	payload := noise(1000)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, base := range []Pair{p, ec} {
				form := Pair{KeyPath: filepath.Join(t.TempDir(), "key"), CertPath: base.CertPath}
				run(t, append(append([]string{openssl}, tt.argv...), "-in", base.KeyPath, "-out", form.KeyPath)...)
				o, env := Options{Hash: "sha256"}, ""
				if tt.encrypted {
					wantPassphrase(t, form)
					o.PIN, env = pin, "KBUILD_SIGN_PIN="+pin
				}
				got := mustSign(t, mustOpen(t, form, o), payload)
				if tt.der || base == ec {
					continue
				}
				if want := judge(t, form, "sha256", payload, env); !bytes.Equal(got, want) {
					t.Errorf("Sign = %x; sign-file made %x", got, want)
				}
			}
		})
	}
}

// wantPassphrase checks that no and wrong passphrases are told apart from
// other errors.
func wantPassphrase(t *testing.T, p Pair) {
	t.Helper()
	for _, pin := range []string{"", "wrong", "pass wor"} {
		_, err := Open(p, Options{Hash: "sha256", PIN: pin})
		if !errors.Is(err, errPassphrase) || !strings.Contains(exit.Hint(err), "KBUILD_SIGN_PIN") {
			t.Errorf("Open with PIN %q = %v (hint %q); want a wrong passphrase", pin, err, exit.Hint(err))
		}
	}
}

func TestOneFile(t *testing.T) {
	p := newPair(t, "rsa:2048")
	other := newPair(t, "rsa:2048")
	key, _ := os.ReadFile(p.KeyPath)
	cert := []byte(run(t, need(t, "openssl"), "x509", "-inform", "DER", "-in", p.CertPath))
	otherCert := []byte(run(t, "openssl", "x509", "-inform", "DER", "-in", other.CertPath))
	want := mustSign(t, mustOpen(t, p, Options{}), []byte("x"))
	for name, data := range map[string][][]byte{
		"key first": {key, cert}, "cert first": {cert, key}, "other cert first": {otherCert, cert, key},
	} {
		file := write(t, filepath.Join(t.TempDir(), "both.pem"), bytes.Join(data, nil))
		one := Pair{KeyPath: file, CertPath: file}
		if got := mustSign(t, mustOpen(t, one, Options{}), []byte("x")); !bytes.Equal(got, want) {
			t.Errorf("%s: Sign = %x; want %x", name, got, want)
		}
	}
}

// TestForeign signs with what only OpenSSL knows.
func TestForeign(t *testing.T) {
	openssl, program := need(t, "openssl"), needSignFile(t)
	scrypt := newPair(t, "rsa:2048")
	plain := scrypt.KeyPath
	scrypt.KeyPath = filepath.Join(t.TempDir(), "key")
	run(t, openssl, "pkcs8", "-topk8", "-scrypt", "-passout", "pass:pin", "-in", plain, "-out", scrypt.KeyPath)
	sec1 := newPair(t, "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1")
	plain = sec1.KeyPath
	sec1.KeyPath = filepath.Join(t.TempDir(), "key")
	run(t, openssl, "pkey", "-traditional", "-in", plain, "-out", sec1.KeyPath)
	tests := []struct {
		name string
		pair Pair
		o    Options
	}{
		{"scrypt", scrypt, Options{PIN: "pin"}},
		{"brainpool", newPair(t, "ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"), Options{}},
		{"secp256k1", sec1, Options{}},
		{"negative serial", newPair(t, "rsa:2048", "-set_serial", "-5"), Options{}},
		{"hash", newPair(t, "rsa:2048"), Options{Hash: "sha512-256"}},
		{"configured program", newPair(t, "rsa:2048"), Options{UseSignFile: true}},
	}
	payload := noise(3000)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.o.Hash == "" {
				tt.o.Hash = "sha256"
			}
			if tt.name != "configured program" {
				if _, err := Open(tt.pair, tt.o); err == nil || exit.Hint(err) == "" {
					t.Errorf("Open without sign-file = %v; want an error with a hint", err)
				}
			}
			tt.o.SignFile, tt.o.Run, tt.o.Temp = program, runner(), t.TempDir()
			s := mustOpen(t, tt.pair, tt.o)
			if s.InProcess() || s.Certificate().Subject.CommonName != "test key" {
				t.Errorf("InProcess() = %v, subject %v; want false, test key", s.InProcess(), s.Certificate().Subject)
			}
			sig, err := s.Sign(context.Background(), payload)
			if err != nil {
				t.Fatal(err)
			}
			opensslVerify(t, pemCert(t, tt.pair), sig, payload)
			if left, _ := os.ReadDir(tt.o.Temp); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// pemCert is p with its certificate in PEM form.
func pemCert(t *testing.T, p Pair) Pair {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cert.pem")
	run(t, need(t, "openssl"), "x509", "-inform", "DER", "-in", p.CertPath, "-out", file)
	p.CertPath = file
	return p
}

// TestForeignFails: kinds that sign-file itself refuses give its words.
func TestForeignFails(t *testing.T) {
	program := needSignFile(t)
	o := Options{Hash: "sha512", SignFile: program, Run: runner(), Temp: t.TempDir()}
	s := mustOpen(t, newPair(t, "ed25519"), o)
	if _, err := s.Sign(context.Background(), []byte("x")); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("Sign = %v; want the failure of sign-file", err)
	}
	a, b := newPair(t, "ed25519"), newPair(t, "ed25519")
	if _, err := Open(Pair{KeyPath: a.KeyPath, CertPath: b.CertPath}, o); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("Open = %v; want a mismatch", err)
	}
}

// TestBadPrograms: a program that takes the arguments but does no good.
func TestBadPrograms(t *testing.T) {
	need(t, "sh")
	p := newPair(t, "rsa:2048")
	other := newPair(t, "rsa:2048")
	real := needSignFile(t)
	for name, script := range map[string]string{
		"nothing":     "exit 0",
		"fails":       "echo no luck >&2; exit 3",
		"truncates":   `: > "$4"`,
		"changes":     `echo more >> "$4"; ` + real + ` "$@"`,
		"other key":   real + ` "$1" ` + other.KeyPath + " " + other.CertPath + ` "$4"`,
		"other hash":  "exec false",
		"removes":     `rm "$4"`,
		"fake magic":  `printf 'xxxxxxxxxxxxx~Module signature appended~\n' >> "$4"`,
		"signs twice": real + ` "$@" && ` + real + ` "$@"`,
	} {
		file := write(t, filepath.Join(t.TempDir(), "tool"), []byte("#!/bin/sh\n"+script+"\n"))
		if err := os.Chmod(file, 0o755); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, p, Options{UseSignFile: true, SignFile: file, Run: runner(), Temp: t.TempDir()})
		if sig, err := s.Sign(context.Background(), []byte("payload")); err == nil {
			t.Errorf("%s: Sign = %x; want an error", name, sig)
		}
	}
}

// TestRSAPSS: OpenSSL 3.0 labels such signatures wrongly, so that nobody can
// verify them; one that cannot be verified must not come out.
func TestRSAPSS(t *testing.T) {
	p := newPair(t, "rsa-pss")
	o := Options{Hash: "sha256", SignFile: needSignFile(t), Run: runner(), Temp: t.TempDir()}
	sig, err := mustOpen(t, p, o).Sign(context.Background(), []byte("x"))
	if err == nil {
		opensslVerify(t, pemCert(t, p), sig, []byte("x"))
	} else if !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("Sign = %v; want a signature or that it does not verify", err)
	}
}

// softToken puts the key of p on a software token and returns the settings
// that lead to it.
func softToken(t *testing.T, p Pair) map[string]string {
	t.Helper()
	util := need(t, "softhsm2-util")
	token := needLibrary(t, "softhsm/libsofthsm2.so")
	dir := t.TempDir()
	// The library of this token uses OpenSSL itself, which must not lead it
	// back to the token.
	conf := write(t, filepath.Join(dir, "openssl.cnf"), []byte("openssl_conf = init\n[init]\nproviders = list\n[list]\npkcs11 = token\n"+
		"[token]\npkcs11-module-path = "+token+"\npkcs11-module-quirks = no-deinit no-operation-state\n"+
		"pkcs11-module-block-operations = digest\n"))
	settings := map[string]string{
		"OPENSSL_CONF":    conf,
		"SOFTHSM2_CONF":   write(t, filepath.Join(dir, "softhsm2.conf"), []byte("directories.tokendir = "+dir+"\n")),
		"OPENSSL_MODULES": os.Getenv("OPENSSL_MODULES"),
	}
	env := []string{"SOFTHSM2_CONF=" + settings["SOFTHSM2_CONF"]}
	runEnv(t, env, util, "--init-token", "--free", "--label", "dkms", "--pin", "1234", "--so-pin", "4321")
	runEnv(t, env, util, "--import", p.KeyPath, "--token", "dkms", "--label", "mod", "--id", "01", "--pin", "1234")
	return settings
}

// tokenSignFile is the kernel's own sign-file, on a machine whose OpenSSL has
// the provider that this program needs for keys on tokens.
func tokenSignFile(t *testing.T) string {
	t.Helper()
	openssl := need(t, "openssl")
	if out, err := exec.Command(openssl, "list", "-providers", "-provider", "pkcs11").CombinedOutput(); err != nil {
		lack(t, "openssl has no pkcs11 provider: "+string(out))
	}
	return needSignFile(t)
}

func TestPKCS11(t *testing.T) {
	program := tokenSignFile(t)
	p := newPair(t, "rsa:2048")
	settings := softToken(t, p)
	payload := noise(1000)
	want := mustSign(t, mustOpen(t, p, Options{}), payload)

	p = pemCert(t, p)
	p.KeyPath = "pkcs11:token=dkms;object=mod;type=private"
	o := Options{SignFile: program, Run: runner(), Temp: t.TempDir(), PIN: "1234", Env: settings}
	if got := mustSign(t, mustOpen(t, p, o), payload); !bytes.Equal(got, want) {
		t.Errorf("Sign with the token = %x; with the file %x", got, want)
	}
	o.PIN = "9999"
	if _, err := mustOpen(t, p, o).Sign(context.Background(), payload); !strings.Contains(exit.Hint(err), "PIN") {
		t.Errorf("Sign with a wrong PIN = %v (hint: %s); want an error with a hint", err, exit.Hint(err))
	}
	o.PIN = ""
	for _, where := range []string{"pin-value=1234", "pin-source=file:" + write(t, filepath.Join(t.TempDir(), "pin"), []byte("1234"))} {
		named := p
		named.KeyPath += "?" + where
		if got := mustSign(t, mustOpen(t, named, o), payload); !bytes.Equal(got, want) {
			t.Errorf("Sign with %s = %x; with the file %x", where, got, want)
		}
	}
	o.PIN, p.CertPath = "1234", newPair(t, "rsa:2048").CertPath
	if _, err := mustOpen(t, pemCert(t, p), o).Sign(context.Background(), payload); err == nil {
		t.Error("Sign with another certificate = nil; want an error")
	}
}

// TestSignFileKey is what programs are told of the key on a token.
func TestSignFileKey(t *testing.T) {
	const added = "pin-source=file:/proc/self/fd/3"
	for _, tt := range []struct {
		key, pin string
		own      bool
		want     string
	}{
		{"pkcs11:object=x", "1234", false, "pkcs11:object=x?" + added},
		{"pkcs11:object=x?module-name=m", "1234", false, "pkcs11:object=x?module-name=m&" + added},
		{"pkcs11:object=x", "", false, "pkcs11:object=x"},
		{"pkcs11:object=x?pin-value=1", "1234", false, "pkcs11:object=x?pin-value=1"},
		{"pkcs11:object=x?pin-source=/x", "1234", false, "pkcs11:object=x?pin-source=/x"},
		{"pkcs11:object=x", "1234", true, "pkcs11:object=x"},
		{"/key.pem", "1234", false, "/key.pem"},
	} {
		s := &signFile{Pair{KeyPath: tt.key}, Options{PIN: tt.pin, UseSignFile: tt.own}}
		got, pin, err := s.key()
		if got != tt.want || err != nil || (pin != nil) != strings.Contains(got, added) {
			t.Errorf("key(%q, %q, %v) = %q, %v, %v; want %q", tt.key, tt.pin, tt.own, got, pin, err, tt.want)
		}
	}
}

// TestSignFileHangs: a token that does not answer holds nothing up for ever.
func TestSignFileHangs(t *testing.T) {
	program := write(t, filepath.Join(t.TempDir(), "sign-file"), []byte("#!/bin/sh\necho waiting\nexec sleep 1000\n"))
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	o := Options{UseSignFile: true, SignFile: program, Run: runner(), Temp: t.TempDir(), Limit: time.Second / 5}
	_, err := mustOpen(t, newPair(t, "rsa:2048"), o).Sign(t.Context(), []byte("payload"))
	if err == nil || !strings.Contains(err.Error(), "ended after 200ms: waiting") {
		t.Errorf("Sign = %v; want that the program was ended", err)
	}
}

// TestSHA3Names has OpenSSL name the identifiers that it cannot sign with.
func TestSHA3Names(t *testing.T) {
	openssl := need(t, "openssl")
	for _, d := range digests() {
		if !strings.HasPrefix(d.name, "sha3-") {
			continue
		}
		out := run(t, openssl, "asn1parse", "-genstr", "OID:"+d.ecdsa.String())
		if want := "ecdsa_with_" + strings.ToUpper(d.name); !strings.Contains(out, want) {
			t.Errorf("openssl names %v %q; want %s", d.ecdsa, out, want)
		}
	}
}

// TestCostlyKeys wants a key that would take minutes to be turned down, or left
// to OpenSSL, at once.
func TestCostlyKeys(t *testing.T) {
	odd := func(bits int) *big.Int { return new(big.Int).SetBit(big.NewInt(1), bits-1, 1) }
	huge := odd(2 << 20)
	der, err := asn1.Marshal(struct {
		Version               int
		N                     *big.Int
		E                     int
		D, P, Q, DP, DQ, QInv *big.Int
	}{0, new(big.Int).Mul(odd(1<<20), odd(1<<20)), 65537, huge, odd(1 << 20), odd(1 << 20), huge, huge, huge})
	if err != nil {
		t.Fatal(err)
	}
	cut := der[:maxFile/2]
	for name, data := range map[string][]byte{
		"DER": der, "cut": cut,
		"PKCS#1": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}),
		"PKCS#8": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		start := time.Now()
		if _, err := parseKey(data, "x"); !errors.Is(err, errTooLarge) || time.Since(start) > 10*time.Second {
			t.Errorf("%s: parseKey = %v after %v; want %v at once", name, err, time.Since(start), errTooLarge)
		}
	}
	rounds := `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHiME0GCSqGSIb3DQEFDTBAMCgGCSqGSIb3DQEFDDAbBAiBmFzxpc7SGgIEATAM
BggqhkTG9w0CCQUAMBQGCCqGSIb3DQMHBAg59uhDTXIqJwSBkEgi/KHiqtm6yzB/
5ohI8v/Myvk9RizyzhPRd26PY1UfuGyKcN9f8kitB0ppfL3jNma2+xia3ZNB+P1+
tJE1fvUaj8K+X7MBJC24PZqXOEUBl1kfU4wAgA3ncoUVuKjbBtBsUwjhMqGs8Xcz
A2nFmIPwjqxRrv4b0hkgrL9YxegRuDpgX+9s9B4J7fGVa9mMKQ==
-----END ENCRYPTED PRIVATE KEY-----
`
	_, err = parseKey([]byte(rounds), "x")
	if _, foreign := errors.AsType[*foreignError](err); !foreign {
		t.Errorf("parseKey = %v; want it left to OpenSSL", err)
	}
	public := &rsa.PublicKey{N: huge, E: 65537}
	if err := checkSignature(public, crypto.SHA256, make([]byte, 32), huge.Bytes()); err == nil || !strings.Contains(err.Error(), "2097152 bits") {
		t.Errorf("checkSignature = %v; want a key that is too large", err)
	}
}

func FuzzParseKey(f *testing.F) {
	openssl := need(f, "openssl")
	p := newPair(f, "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
	key, _ := os.ReadFile(p.KeyPath)
	f.Add(key, "")
	for _, argv := range [][]string{
		{"pkey", "-traditional"},
		{"pkey", "-traditional", "-aes128", "-passout", "pass:x"},
		{"pkcs8", "-topk8", "-nocrypt", "-outform", "DER"},
		{"pkcs8", "-topk8", "-v2", "des3", "-iter", "1", "-passout", "pass:x"},
	} {
		out := filepath.Join(f.TempDir(), "key")
		run(f, append(append([]string{openssl}, argv...), "-in", p.KeyPath, "-out", out)...)
		data, _ := os.ReadFile(out)
		f.Add(data, "x")
	}
	f.Fuzz(func(t *testing.T, data []byte, pin string) {
		if key, err := parseKey(data, pin); (key == nil) == (err == nil) {
			t.Errorf("parseKey = %v, %v; want one of them", key, err)
		}
	})
}

func FuzzParseCertificates(f *testing.F) {
	for _, curve := range []string{"P-256", "brainpoolP256r1"} {
		p := newPair(f, "ec", "-pkeyopt", "ec_paramgen_curve:"+curve)
		data, _ := os.ReadFile(p.CertPath)
		f.Add(data)
	}
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := parseCertificates(data)
		if err == nil && (len(certs) == 0 || certs[0].SerialNumber == nil || len(certs[0].Raw) == 0) {
			t.Errorf("parseCertificates = %v, nil; want whole certificates", certs)
		}
	})
}

func TestCurvesKnown(t *testing.T) {
	// The comparison of keys relies on these being comparable.
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		p := newPair(t, "ec", "-pkeyopt", "ec_paramgen_curve:"+c.Params().Name)
		if s := mustOpen(t, p, Options{}); !s.InProcess() {
			t.Errorf("%s: InProcess() = false; want true", c.Params().Name)
		}
	}
}

func asRSA(key crypto.Signer) *rsa.PrivateKey { return key.(*rsa.PrivateKey) }
