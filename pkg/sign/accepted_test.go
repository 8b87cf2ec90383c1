package sign

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestAccepted has signatures checked against the certificates of files and of
// directories.
func TestAccepted(t *testing.T) {
	dir := t.TempDir()
	one, two := newPair(t, "rsa:2048"), newPair(t, "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
	certs := filepath.Join(dir, "certs")
	check(t, os.Mkdir(certs, 0o755))
	if _, err := Certificates(certs); err == nil {
		t.Error("Certificates(empty directory) has no error")
	}
	for name, p := range map[string]Pair{"one": one, "two": two} {
		data, err := os.ReadFile(p.CertPath)
		check(t, err)
		write(t, filepath.Join(certs, name), data)
	}
	both, err := Certificates(certs)
	if err != nil || len(both) != 2 {
		t.Fatalf("Certificates(two files) = %d, %v; want 2", len(both), err)
	}
	first, err := Certificates(one.CertPath)
	if err != nil || len(first) != 1 {
		t.Fatalf("Certificates(file) = %d, %v; want 1", len(first), err)
	}
	payload := []byte("payload")
	for _, p := range []Pair{one, two} {
		s, err := Open(p, Options{Hash: "sha256"})
		check(t, err)
		sig, err := s.Sign(t.Context(), payload)
		check(t, err)
		again, err := s.Sign(t.Context(), payload)
		check(t, err)
		if !bytes.Equal(sig, again) {
			t.Errorf("%s: the same payload has two signatures", p.KeyPath)
		}
		if c, err := VerifyAny(sig, payload, both); err != nil || !c.Equal(s.Certificate()) {
			t.Errorf("VerifyAny(%s, both) = %v; want its certificate", p.KeyPath, err)
		}
		if _, err := VerifyAny(sig, []byte("other"), both); err == nil {
			t.Errorf("VerifyAny(%s, another payload) has no error", p.KeyPath)
		}
		if _, err := VerifyAny(sig, payload, first); (err == nil) != (p == one) {
			t.Errorf("VerifyAny(%s, one) = %v", p.KeyPath, err)
		}
		if _, err := VerifyAny(sig, payload, nil); err == nil {
			t.Errorf("VerifyAny(%s, none) has no error", p.KeyPath)
		}
	}
	write(t, filepath.Join(certs, "broken"), []byte("x"))
	if _, err := Certificates(certs); err == nil {
		t.Error("Certificates(a file that is none) has no error")
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
