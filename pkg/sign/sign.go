// Package sign signs kernel modules: it finds the key and its certificate,
// makes and checks the PKCS#7 signature, and determines whether this machine
// trusts it.
//
// It guarantees that a signature is verified before it is returned, that a key
// that does not belong to its certificate is refused before anything is signed,
// and that no existing key or certificate is ever overwritten.
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

// Options are the settings of a [Signer].
type Options struct {
	// Run starts the sign-file program, if one is needed.
	Run *system.Runner
	// Hash is the digest's name as in CONFIG_MODULE_SIG_HASH.
	Hash string
	// PIN is the passphrase of the key or the PIN of its token, from
	// KBUILD_SIGN_PIN.
	PIN string
	// SignFile is the path of the kernel's sign-file program or of one that
	// takes the same arguments; it may be empty.
	SignFile string
	// UseSignFile makes SignFile create every signature, for an administrator
	// who configured a program of their own.
	UseSignFile bool
	// Env is the caller's environment. The sign-file program gets those of its
	// variables that configure OpenSSL and PKCS#11 modules.
	Env map[string]string
	// Temp is the directory for the input of [Signer.Sign] to the sign-file
	// program; empty is /tmp.
	Temp string
	// Limit is the time limit of that program for a module; 0 is two minutes.
	Limit time.Duration
}

// Signer signs modules with one pair. Several goroutines may use a Signer at
// once.
type Signer struct {
	pair Pair
	cert *x509.Certificate
	// key is nil if the sign-file program makes the signatures.
	key  crypto.Signer
	hash *digest
	tool *signFile
	// temp is the directory for input to the sign-file program that is not a
	// module.
	temp string
}

// Open reads the pair and checks that the halves belong together. Keys that
// only OpenSSL supports, and keys on tokens, need the sign-file program.
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

// open prepares s for signing in this process. If that is impossible, why says
// what the sign-file program is needed for.
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

// probeName is the file name for a test signature.
const probeName = "module"

// Probe finds out whether modules can be signed, before anything is built. A
// program that the administrator configured is not tested: it is called once
// for each module, and for nothing else.
func (s *Signer) Probe(ctx context.Context) error {
	if s.tool == nil || s.tool.o.UseSignFile {
		return nil
	}
	_, err := s.Sign(ctx, []byte(probeName))
	return err
}

// Sign is [Signer.SignModule] for data that is not a module, or has no name.
func (s *Signer) Sign(ctx context.Context, payload []byte) ([]byte, error) {
	return s.SignModule(ctx, s.temp, probeName, payload)
}

// SignModule returns the PKCS#7 signature of payload, the bytes of the module
// name without an older signature. The signature has been verified with the
// certificate. A program that makes the signature finds the module under its
// own name below dir.
func (s *Signer) SignModule(ctx context.Context, dir, name string, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if s.tool != nil {
		return s.tool.sign(ctx, dir, name, payload, s.cert)
	}
	// Without a source of randomness, the same payload always gets the same
	// signature: RSA PKCS #1 v1.5 uses none, and ECDSA works as in RFC 6979.
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

// Pair returns the paths of the key and the certificate.
func (s *Signer) Pair() Pair { return s.pair }

// Name is the common name of the certificate's subject.
func (s *Signer) Name() string { return s.cert.Subject.CommonName }

// InProcess reports whether this process makes the signatures itself.
func (s *Signer) InProcess() bool { return s.tool == nil }
