package sign

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Ensure generates the pair if both halves are missing and the pair is the
// default one or that of framework.conf. If only one half exists, Ensure
// returns an error, because the other half may be enrolled in the firmware, and
// only its owner can tell. An exception is a generation that a crash
// interrupted: Ensure finishes it.
func (p *Pair) Ensure(ctx context.Context, now time.Time) error {
	done, err := p.Settled()
	if done || err != nil && !p.half() {
		return err
	}
	dir := filepath.Dir(p.KeyPath)
	if p.Origin == originDefault && !system.IsDir(dir) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// The certificate must be readable whatever the umask is.
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{dir, filepath.Dir(p.CertPath)} {
		switch {
		case system.IsDir(dir):
		case err != nil: // one half is in another directory
			return err
		default:
			return exit.Errorf(exit.Usage, "%s: no such directory, so no signing key can be made", dir).
				WithHint("create it, or correct the paths of the signing key and certificate")
		}
	}
	unlock, lockErr := p.lock(ctx)
	if lockErr != nil {
		return cmp.Or(err, lockErr) // in a directory that cannot be written, half a pair is still an error
	}
	defer unlock()
	// Another process may have made the pair meanwhile.
	p.Generated = p.finish()
	if done, err = p.Settled(); done || err != nil {
		return err
	}
	if err := p.generate(now); err != nil {
		return err
	}
	p.Generated = true
	return nil
}

// Settled reports whether the pair is complete, or returns why it cannot be
// completed.
func (p *Pair) Settled() (bool, error) {
	key, cert := p.Exists()
	switch {
	case key && cert:
		return true, nil
	case isPKCS11(p.KeyPath):
		return false, exit.Errorf(exit.Usage, "%s: no such file; it is the certificate of the key on the token", p.CertPath).
			WithHint("write the certificate of %s there", p.KeyPath)
	case !key && occupied(p.KeyPath):
		return false, exit.Errorf(exit.Usage, "%s: neither missing nor a file", p.KeyPath)
	case !cert && occupied(p.CertPath):
		return false, exit.Errorf(exit.Usage, "%s: neither missing nor a file", p.CertPath)
	case key:
		return false, halfMissing(p.CertPath, "certificate", p.KeyPath)
	case cert:
		return false, halfMissing(p.KeyPath, "key", p.CertPath)
	case p.mayGenerate():
		return false, nil
	}
	return false, exit.Errorf(exit.Usage, "%s: no such file (from %s)", p.KeyPath, p.Origin).
		WithHint("correct the path; only the default key and that of framework.conf are made on demand")
}

// mayGenerate is false for paths from other programs' settings: if such a path
// is wrong, generation would make a key that nobody has enrolled.
func (p *Pair) mayGenerate() bool {
	switch p.Origin {
	case originEnv, originConfig, originUbuntu:
		return false
	}
	return !strings.HasPrefix(p.Origin, "/")
}

// half reports whether exactly one half exists, of a pair that this program may
// generate.
func (p *Pair) half() bool {
	key, cert := p.Exists()
	return key != cert && p.mayGenerate() && !isPKCS11(p.KeyPath)
}

// If [Pair.generate] was interrupted between the two halves, the missing half
// still has its temporary name. finish gives that half its final name.
func (p *Pair) finish() bool {
	if !p.half() {
		return false
	}
	missing, whole := p.CertPath, *p
	path := &whole.CertPath
	if _, cert := p.Exists(); cert {
		missing, path = p.KeyPath, &whole.KeyPath
	}
	dir, name := filepath.Split(missing)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), system.StagePrefix+name+".") {
			continue
		}
		*path = filepath.Join(dir, e.Name())
		if whole.match() && link(*path, missing) == nil {
			os.Remove(*path)
			return system.SyncDir(dir) == nil
		}
	}
	return false
}

// match reports whether the halves belong together.
func (p *Pair) match() bool {
	key, err := readKey(p.KeyPath, "")
	if err != nil {
		return false
	}
	cert, err := ReadCertificate(p.CertPath)
	if err != nil {
		return false
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && cert.PublicKey != nil && public.Equal(cert.PublicKey)
}

func halfMissing(missing, what, there string) error {
	return exit.Errorf(exit.Usage, "%s: the %s is missing, but %s exists", missing, what, there).
		WithHint("restore the %s; or, if it is lost, move %s away to have a new pair made, which must be enrolled again", what, there)
}

func occupied(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && !st.Mode().IsRegular()
}

// lockName is a lock file beside the key while a pair is generated.
const lockName = ".signing-key.lock"

// lock prevents two processes from each writing one half of different pairs.
// The wait ends with ctx.
func (p *Pair) lock(ctx context.Context) (unlock func(), err error) {
	self := fmt.Sprintf("the making of a signing key (process %d)", os.Getpid())
	return system.LockBriefly(ctx, filepath.Join(filepath.Dir(p.KeyPath), lockName), self)
}

// generate makes the pair and gives both halves their names.
func (p *Pair) generate(now time.Time) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	cert, err := newCertificate(key, now)
	if err != nil {
		return err
	}
	if p.KeyPath == p.CertPath {
		certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
		return placeNew([]newFile{{p.KeyPath, bytes.Join([][]byte{keyPEM, certPEM}, nil), 0o600}})
	}
	return placeNew([]newFile{{p.KeyPath, keyPEM, 0o600}, {p.CertPath, cert, 0o644}})
}

type newFile struct {
	path string
	data []byte
	mode fs.FileMode
}

// placeNew gives either all files their names or none, and never replaces an
// existing file. It writes and syncs all files before the first name appears.
// It uses links because a link, unlike a rename, fails if the name exists.
func placeNew(files []newFile) (err error) {
	var placed []string
	defer func() {
		if err != nil {
			for _, path := range placed {
				os.Remove(path)
			}
		}
	}()
	staged := make([]string, len(files))
	for i, f := range files {
		if staged[i], err = system.StageBytes(f.path, f.data, f.mode); err != nil {
			return err
		}
		defer os.Remove(staged[i])
	}
	for i, f := range files {
		if err = link(staged[i], f.path); err != nil {
			return err
		}
		placed = append(placed, f.path)
	}
	for _, f := range files {
		if err = system.SyncDir(filepath.Dir(f.path)); err != nil {
			return err
		}
	}
	return nil
}

// link gives the staged file its name. On a file system without links, it
// renames the file without replacing.
func link(staged, path string) error {
	err := os.Link(staged, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE) == nil {
		return nil
	}
	return err
}

// validity is how long a certificate is valid: the kernel ignores the date, and
// nobody should have to enrol a key twice.
const validity = 36500 // days

// newCertificate signs a certificate with its own key. The certificate is a CA
// that may sign certificates and nothing else: only such a certificate gets
// into the .machine keyring of a kernel with the CA restriction
// (CONFIG_INTEGRITY_CA_MACHINE_KEYRING_MAX). It has the code signing usage that
// kernels with CONFIG_CHECK_CODESIGN_EKU require. Because of that usage, shim
// would also accept the key for boot loaders and kernels, so the certificate
// says that it is for modules only.
func newCertificate(key *rsa.PrivateKey, now time.Time) ([]byte, error) {
	serial := make([]byte, 20)
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40 // positive, and exactly 20 bytes
	id := sha1.Sum(x509.MarshalPKCS1PublicKey(&key.PublicKey))
	from := notBefore(now)
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: "DKMS module signing key"},
		NotBefore:             from,
		NotAfter:              from.AddDate(0, 0, validity),
		SignatureAlgorithm:    x509.SHA256WithRSA,
		SubjectKeyId:          id[:],
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{modulesOnly()},
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// notBefore moves the time of a machine with a wrong clock into the range that
// the kernel and DER can read: from 1970 to 9999.
func notBefore(now time.Time) time.Time {
	now = now.UTC().Truncate(time.Second)
	if first := time.Unix(0, 0).UTC(); now.Before(first) {
		return first
	}
	if last := time.Date(9899, 1, 1, 0, 0, 0, 0, time.UTC); now.After(last) {
		return last
	}
	return now
}
