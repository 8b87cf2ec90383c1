// Package sign knows how kernel modules are signed: where the key and its
// certificate come from, how the PKCS#7 signature is made and checked, and
// whether this machine trusts it.
//
// It guarantees that a signature was verified before it is handed out, that
// a key which does not belong to its certificate is refused before anything
// is signed, and that no existing key or certificate is ever overwritten.
package sign

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Options say how a [Signer] works.
type Options struct {
	// Run starts the sign-file program, where one is needed.
	Run *system.Runner
	// Hash is the digest's name as in CONFIG_MODULE_SIG_HASH.
	Hash string
	// PIN is the passphrase of the key or the PIN of its token, from
	// KBUILD_SIGN_PIN.
	PIN string
	// SignFile is the path of the kernel's sign-file program or of one that
	// takes the same arguments; it may be empty.
	SignFile string
	// UseSignFile has every signature made by SignFile, for an administrator
	// who configured a program of his own.
	UseSignFile bool
	// Env is the caller's environment, of which the sign-file program gets
	// what OpenSSL and PKCS#11 modules are configured with.
	Env map[string]string
	// Temp is where what [Signer.Sign] is given waits for the sign-file program;
	// empty is /tmp.
	Temp string
	// Limit is how long that program has for a module; 0 is two minutes.
	Limit time.Duration
}

// Signer signs modules with one pair. It may be used by several goroutines at
// once.
type Signer struct {
	pair Pair
	cert *x509.Certificate
	// key is nil where the sign-file program makes the signature.
	key  crypto.Signer
	hash *digest
	tool *signFile
	// temp is where what is no module waits for the sign-file program.
	temp string
}

// Open reads the pair and checks that its halves belong together. Keys that
// only OpenSSL knows, and those on tokens, need the sign-file program.
func Open(p Pair, o Options) (*Signer, error) {
	certs, err := readCertificates(p.CertPath)
	if err != nil {
		return nil, err
	}
	s := &Signer{pair: p, cert: certs[0], temp: cmp.Or(o.Temp, "/tmp")}
	why, err := s.open(certs, o)
	if err == nil && why != "" {
		s.key = nil
		s.tool, err = newSignFile(p, o, why)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// open prepares s for signing in process. Where that cannot be, why says what
// the sign-file program is needed for.
func (s *Signer) open(certs []*x509.Certificate, o Options) (why string, err error) {
	s.hash = digestByName(o.Hash)
	switch {
	case o.Hash == "":
		return "", exit.Errorf(exit.Usage, "%s: no hash to sign with", s.pair.KeyPath)
	case o.UseSignFile:
		return "the configuration", nil
	case isPKCS11(s.pair.KeyPath):
		return "a key on a PKCS#11 token", nil
	}
	key, err := readKey(s.pair.KeyPath, o.PIN)
	if foreign, ok := errors.AsType[*foreignError](err); ok {
		return foreign.what, nil
	}
	if err != nil {
		return "", err
	}
	if why, err = s.match(key, certs); why != "" || err != nil {
		return why, err
	}
	switch s.key = key; key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey:
	default:
		return fmt.Sprintf("a key of type %T", key), nil
	}
	if s.hash == nil {
		return "the hash " + o.Hash, nil
	}
	return "", nil
}

// match chooses the certificate of key; the file may hold several.
func (s *Signer) match(key crypto.Signer, certs []*x509.Certificate) (why string, err error) {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return fmt.Sprintf("a key of type %T", key), nil
	}
	for _, c := range certs {
		if c.PublicKey != nil && public.Equal(c.PublicKey) {
			s.cert = c
			return "", nil
		}
	}
	if s.cert.PublicKey == nil {
		return "a certificate that only OpenSSL can read", nil
	}
	return "", exit.Errorf(exit.Usage, "%s: the key does not belong to the certificate %s", s.pair.KeyPath, s.pair.CertPath).
		WithHint("put the matching certificate there, or move both files away to have a new pair made")
}

// probeName is the name of what a program is tried with.
const probeName = "module"

// Probe finds out whether modules can be signed, before anything is built. A
// program that the administrator configured is not tried: it is called once for
// each module, and for nothing else.
func (s *Signer) Probe(ctx context.Context) error {
	if s.tool == nil || s.tool.o.UseSignFile {
		return nil
	}
	_, err := s.Sign(ctx, []byte(probeName))
	return err
}

// Sign is [Signer.SignModule] for what is no module, or none with a name.
func (s *Signer) Sign(ctx context.Context, payload []byte) ([]byte, error) {
	return s.SignModule(ctx, s.temp, probeName, payload)
}

// SignModule returns the PKCS#7 signature of payload, the bytes of the module
// name without an older signature. It has been verified with the certificate. A
// program that makes it finds the module under its own name below dir.
func (s *Signer) SignModule(ctx context.Context, dir, name string, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if s.tool != nil {
		return s.tool.sign(ctx, dir, name, payload, s.cert)
	}
	// Without a source of randomness the same payload always gets the same
	// signature: RSA PKCS #1 v1.5 has none, ECDSA does as RFC 6979 says.
	sum := s.hash.sum(payload)
	sig, err := s.key.Sign(nil, sum, s.hash.hash)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.pair.KeyPath, err)
	}
	if err := checkSignature(s.cert.PublicKey, s.hash.hash, sum, sig); err != nil {
		return nil, fmt.Errorf("%s: the new signature is bad: %w", s.pair.KeyPath, err)
	}
	return encode(s.cert, s.hash, sig)
}

// Certificate is the certificate that the signatures refer to.
func (s *Signer) Certificate() *x509.Certificate { return s.cert }

// Pair is where the key and the certificate lie.
func (s *Signer) Pair() Pair { return s.pair }

// Name is the common name of the certificate's subject.
func (s *Signer) Name() string { return s.cert.Subject.CommonName }

// InProcess reports whether signatures are made without another program.
func (s *Signer) InProcess() bool { return s.tool == nil }
