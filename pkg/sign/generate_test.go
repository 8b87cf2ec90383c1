package sign

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

func someTime() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 7, time.FixedZone("east", 3600)) }

func generated(t testing.TB) (Pair, system.Root) {
	t.Helper()
	root := system.Root{Dir: t.TempDir()}
	p, err := Find(Sources{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ensure(t.Context(), someTime()); err != nil {
		t.Fatal(err)
	}
	if !p.Generated {
		t.Error("Generated = false; want true")
	}
	return p, root
}

func TestEnsureGenerates(t *testing.T) {
	p, root := generated(t)
	for path, want := range map[string]os.FileMode{p.KeyPath: 0o600, p.CertPath: 0o644, root.Path("/var/lib/dkms"): 0o755 | os.ModeDir} {
		if st, err := os.Stat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	if left, _ := os.ReadDir(root.Path("/var/lib/dkms")); len(left) != 2 {
		t.Errorf("the directory holds %v; want the pair alone", left)
	}
	again := p
	again.Generated = false
	before, _ := os.ReadFile(p.KeyPath)
	if err := again.Ensure(t.Context(), someTime()); err != nil || again.Generated {
		t.Errorf("second Ensure = %v, Generated %v; want nil, false", err, again.Generated)
	}
	if after, _ := os.ReadFile(p.KeyPath); !bytes.Equal(before, after) {
		t.Error("second Ensure changed the key")
	}
}

func TestGeneratedForKernelTools(t *testing.T) {
	p, _ := generated(t)
	payload := noise(1000)
	s := mustOpen(t, p, Options{Hash: "sha512"})
	if got, want := mustSign(t, s, payload), judge(t, p, "sha512", payload); !bytes.Equal(got, want) {
		t.Errorf("Sign = %x; sign-file made %x", got, want)
	}
	if s.Name() != "DKMS module signing key" {
		t.Errorf("Name() = %q", s.Name())
	}
	openssl := need(t, "openssl")
	text := run(t, openssl, "x509", "-inform", "DER", "-in", p.CertPath, "-noout", "-text")
	text = strings.Join(strings.Fields(text), " ")
	for _, want := range []string{
		"X509v3 Basic Constraints: critical CA:TRUE X509",
		"X509v3 Key Usage: critical Certificate Sign X509",
		"X509v3 Extended Key Usage: Code Signing, 1.3.6.1.4.1.2312.16.1.2 X509",
		"X509v3 Subject Key Identifier:",
		"Public-Key: (2048 bit)",
		"Subject: CN = DKMS module signing key",
		"Not Before: Feb 3 03:05:06 2026 GMT Not After : Jan 10 03:05:06 2126 GMT",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("openssl shows no %q in:\n%s", want, text)
		}
	}
	if key, _ := os.ReadFile(p.KeyPath); !bytes.HasPrefix(key, []byte("-----BEGIN PRIVATE KEY-----\n")) {
		t.Errorf("the key begins with %.40q; want PKCS#8", key)
	}
	run(t, openssl, "verify", "-CAfile", pemCert(t, p).CertPath, pemCert(t, p).CertPath)
	id := s.Certificate().SubjectKeyId
	if want := opensslKeyID(t, p); want != fmt.Sprintf("%X", id) {
		t.Errorf("subject key id %X; openssl says %s", id, want)
	}
	if n := len(s.Certificate().SerialNumber.Bytes()); n != 20 {
		t.Errorf("serial number of %d bytes; want 20", n)
	}
}

// opensslKeyID is the subject key id that openssl would choose.
func opensslKeyID(t *testing.T, p Pair) string {
	t.Helper()
	cert := filepath.Join(t.TempDir(), "cert")
	run(t, need(t, "openssl"), "req", "-new", "-x509", "-key", p.KeyPath, "-subj", "/CN=x", "-out", cert,
		"-addext", "subjectKeyIdentifier=hash")
	text := run(t, "openssl", "x509", "-in", cert, "-noout", "-ext", "subjectKeyIdentifier")
	return strings.ReplaceAll(strings.TrimSpace(text[strings.IndexByte(text, '\n'):]), ":", "")
}

func TestEnsureClock(t *testing.T) {
	p, _ := generated(t)
	key, err := readKey(p.KeyPath, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0), time.Unix(4e9, 0), time.Unix(1<<40, 0), someTime()} {
		der, err := newCertificate(asRSA(key), now)
		if err != nil {
			t.Errorf("%v: %v", now, err)
			continue
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Errorf("%v: %v", now, err)
			continue
		}
		if span := c.NotAfter.Sub(c.NotBefore); span != validity*24*time.Hour || c.NotBefore.Year() < 1970 {
			t.Errorf("%v: from %v for %v", now, c.NotBefore, span)
		}
		run(t, need(t, "openssl"), "x509", "-inform", "DER", "-noout", "-dates", "-in", write(t, filepath.Join(t.TempDir(), "c"), der))
	}
}

func TestEnsureHalf(t *testing.T) {
	for _, there := range []string{"key", "cert"} {
		for _, origin := range []string{"default", "framework.conf", "ubuntu", "environment"} {
			dir := t.TempDir()
			p := Pair{KeyPath: filepath.Join(dir, "key"), CertPath: filepath.Join(dir, "cert"), Origin: origin}
			file := write(t, filepath.Join(dir, there), []byte("precious"))
			err := p.Ensure(t.Context(), someTime())
			if err == nil || !strings.Contains(err.Error(), "is missing, but "+file) || !strings.Contains(exit.Hint(err), "move "+file) {
				t.Errorf("%s %s: Ensure = %v (hint %q); want the other half missing", origin, there, err, exit.Hint(err))
			}
			left, _ := os.ReadDir(dir)
			if data, _ := os.ReadFile(file); string(data) != "precious" || len(left) != 1 {
				t.Errorf("%s %s: left %q and %v", origin, there, data, left)
			}
		}
	}
}

func TestEnsureConfigured(t *testing.T) {
	dir := t.TempDir()
	p := Pair{KeyPath: filepath.Join(dir, "a/key"), CertPath: filepath.Join(dir, "b/cert"), Origin: "framework.conf"}
	for _, sub := range []string{"a", "b"} {
		err := p.Ensure(t.Context(), someTime())
		if want := filepath.Join(dir, sub) + ": no such directory"; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Ensure = %v; want %s", err, want)
		}
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Ensure(t.Context(), someTime()); err != nil || !p.Generated {
		t.Errorf("Ensure = %v, Generated %v; want nil, true", err, p.Generated)
	}
	mustSign(t, mustOpen(t, p, Options{}), nil)
}

func TestEnsureOneFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "both.pem")
	p := Pair{KeyPath: file, CertPath: file, Origin: "framework.conf"}
	if err := p.Ensure(t.Context(), someTime()); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
		t.Errorf("%s: %v, %v; want 0600", file, st.Mode(), err)
	}
	payload := noise(100)
	if got, want := mustSign(t, mustOpen(t, p, Options{}), payload), judge(t, p, "sha256", payload); !bytes.Equal(got, want) {
		t.Errorf("Sign = %x; sign-file made %x", got, want)
	}
}

// TestEnsureObstacles: whatever has the name of a half stays.
func TestEnsureObstacles(t *testing.T) {
	makers := map[string]func(path string) error{
		"dangling link": func(path string) error { return os.Symlink("nowhere", path) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o755) },
	}
	for name, obstruct := range makers {
		for _, half := range []string{"key", "cert"} {
			dir := t.TempDir()
			p := Pair{KeyPath: filepath.Join(dir, "key"), CertPath: filepath.Join(dir, "cert"), Origin: "default"}
			if err := obstruct(filepath.Join(dir, half)); err != nil {
				t.Fatal(err)
			}
			if err := p.Ensure(t.Context(), someTime()); err == nil {
				t.Errorf("%s as %s: Ensure = nil; want an error", name, half)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("%s as %s: left %v; want the obstacle alone", name, half, left)
			}
		}
	}
}

// TestPlaceNew: a name taken between the look and the link is left alone, and
// nothing of ours stays.
func TestPlaceNew(t *testing.T) {
	dir := t.TempDir()
	taken := write(t, filepath.Join(dir, "cert"), []byte("precious"))
	err := placeNew([]newFile{{filepath.Join(dir, "key"), []byte("k"), 0o600}, {taken, []byte("c"), 0o644}})
	if !os.IsExist(err) {
		t.Errorf("placeNew = %v; want that the file exists", err)
	}
	left, _ := os.ReadDir(dir)
	if data, _ := os.ReadFile(taken); string(data) != "precious" || len(left) != 1 {
		t.Errorf("left %q and %v; want the other file alone", data, left)
	}
}

// TestEnsureInterrupted: a pair whose second half had no name yet when the
// machine went down is finished; anything else that lies there is not taken.
func TestEnsureInterrupted(t *testing.T) {
	for _, half := range []string{"key", "cert"} {
		for _, foreign := range []bool{false, true} {
			dir := t.TempDir()
			p := Pair{KeyPath: filepath.Join(dir, "key"), CertPath: filepath.Join(dir, "cert"), Origin: "default"}
			if err := p.Ensure(t.Context(), someTime()); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, half)
			want, _ := os.ReadFile(path)
			staged := filepath.Join(dir, ".dkms-"+half+".123")
			if err := os.Rename(path, staged); err != nil {
				t.Fatal(err)
			}
			if foreign {
				stranger := newPair(t, "rsa:2048")
				data, _ := os.ReadFile(map[string]string{"key": stranger.KeyPath, "cert": stranger.CertPath}[half])
				write(t, staged, data)
			}
			again := Pair{KeyPath: p.KeyPath, CertPath: p.CertPath, Origin: "default"}
			err := again.Ensure(t.Context(), someTime())
			got, _ := os.ReadFile(path)
			if foreign && (err == nil || again.Generated || got != nil) {
				t.Errorf("%s with a foreign one: Ensure = %v, Generated = %v; want that it is missing", half, err, again.Generated)
			}
			if !foreign && (err != nil || !again.Generated || !bytes.Equal(got, want)) {
				t.Errorf("%s: Ensure = %v, Generated = %v, %d bytes; want the half in place", half, err, again.Generated, len(got))
			}
			if left, _ := os.ReadDir(dir); len(left) != 2 {
				t.Errorf("%s: left %v; want two files", half, left)
			}
		}
	}
}

func TestEnsureConcurrently(t *testing.T) {
	dir := t.TempDir()
	made := make([]Pair, 6)
	var wg sync.WaitGroup
	for i := range made {
		made[i] = Pair{KeyPath: filepath.Join(dir, "key"), CertPath: filepath.Join(dir, "cert"), Origin: "default"}
		wg.Go(func() {
			if err := made[i].Ensure(t.Context(), someTime()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	count := 0
	for _, p := range made {
		if p.Generated {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d pairs were generated; want 1", count)
	}
	mustSign(t, mustOpen(t, made[0], Options{}), nil)
}

// Whoever holds the lock of the directory stops nobody, and a wait for another
// process that makes a pair ends when that is asked for.
func TestEnsureWaits(t *testing.T) {
	p := Pair{KeyPath: filepath.Join(t.TempDir(), "key"), Origin: "default"}
	p.CertPath = p.KeyPath
	dir, err := os.Open(filepath.Dir(p.KeyPath))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	unlock, err := p.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, held := errors.AsType[*system.HeldError](p.Ensure(ctx, someTime()))
	if !held {
		t.Errorf("Ensure did not give up waiting for another process")
	}
	unlock()
	if err := p.Ensure(t.Context(), someTime()); err != nil || !p.Generated {
		t.Errorf("Ensure = %v, Generated = %v", err, p.Generated)
	}
}

func TestEnsureToken(t *testing.T) {
	p := Pair{KeyPath: "pkcs11:object=x", CertPath: filepath.Join(t.TempDir(), "cert"), Origin: "framework.conf"}
	if err := p.Ensure(t.Context(), someTime()); err == nil || exit.Hint(err) == "" {
		t.Errorf("Ensure = %v; want the certificate missing, with a hint", err)
	}
	write(t, p.CertPath, nil)
	if err := p.Ensure(t.Context(), someTime()); err != nil {
		t.Errorf("Ensure = %v; want nil", err)
	}
}
