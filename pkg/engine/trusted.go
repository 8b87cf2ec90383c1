package engine

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"dkms/pkg/exit"
	"dkms/pkg/module"
	"dkms/pkg/plan"
	"dkms/pkg/sign"
	"dkms/pkg/tree"
)

// checkSignature looks at the installed files of a module on a machine that
// only loads signed ones; keys gives the key in use.
func (e *Engine) checkSignature(n plan.Note, keys func(tree.Target) (usedKey, error), m *ModuleVerdict) {
	key, err := keys(n.Target)
	origin := e.originKey(n)
	for _, path := range e.signedFiles(n) {
		info, readErr := module.Read(path)
		file := filepath.Base(path)
		switch {
		case readErr != nil:
			m.State, m.Reason = "damaged", readErr.Error()
		case info.Signature == nil || info.Signature.PKCS7 == nil:
			m.State, m.Reason = "unsigned", file+" is not signed, and this machine requires that"
			m.Hint = "dkms sign " + n.ID.String()
		case origin.trusted && origin.signed(path, info):
			continue
		case err != nil:
			m.State, m.Reason, m.Hint = "untrusted", err.Error(), exit.Hint(err)
		case !key.trusted:
			m.State, m.Reason = "untrusted", fmt.Sprintf("%s is signed by %q, which this machine does not trust", file, info.Signature.Signer)
			m.Hint = "dkms mok enroll"
		case !key.signed(path, info):
			m.State, m.Reason = "untrusted", fmt.Sprintf("%s is signed by %q, and not with the key that this machine trusts", file, info.Signature.Signer)
			m.Hint = "dkms sign " + n.ID.String()
		default:
			continue
		}
		return
	}
}

// signedFiles are the installed files of a build. What the original installed
// is not on record, but is a copy of what it built.
func (e *Engine) signedFiles(n plan.Note) []string {
	var files []string
	if m, err := e.tree.Manifest(n.ID, n.Target); err == nil && m != nil && len(m.Installed) > 0 {
		for _, f := range m.Installed {
			files = append(files, f.Path)
		}
		return files
	}
	dir := e.tree.Modules(n.ID, n.Target)
	built, _ := os.ReadDir(dir)
	for _, b := range built {
		if _, _, ok := module.ParseSuffix(b.Name()); ok {
			files = append(files, filepath.Join(dir, b.Name()))
		}
	}
	return files
}

// usedKey is the certificate in use and whether the machine trusts it.
type usedKey struct {
	cert    *x509.Certificate
	trusted bool
}

func (e *Engine) usedKey(t tree.Target) (usedKey, error) {
	options, err := e.reader.Signing(context.Background(), t.Kernel)
	if err != nil {
		return usedKey{}, err
	}
	pair, err := e.findPair(t, options)
	if err != nil {
		return usedKey{}, err
	}
	cert, err := sign.ReadCertificate(pair.CertPath)
	if err != nil {
		return usedKey{}, err
	}
	return usedKey{cert, e.trust(t, cert).Trusted()}, nil
}

// perTarget is find, which is asked once for each target, by one at a time.
func perTarget[T any](find func(tree.Target) (T, error)) func(tree.Target) (T, error) {
	type answer struct {
		value T
		err   error
	}
	known := map[tree.Target]answer{}
	return func(t tree.Target) (T, error) {
		a, ok := known[t]
		if !ok {
			a.value, a.err = find(t)
			known[t] = a
		}
		return a.value, a.err
	}
}

// originKey is the certificate that an imported build came with, and whether
// the machine trusts that.
func (e *Engine) originKey(n plan.Note) usedKey {
	m, err := e.tree.Manifest(n.ID, n.Target)
	if err != nil || m == nil || m.Origin == nil {
		return usedKey{}
	}
	cert, err := x509.ParseCertificate(m.Certificate)
	if err != nil {
		return usedKey{}
	}
	return usedKey{cert, e.trust(n.Target, cert).Trusted()}
}

// signed verifies the signature of a file with the certificate.
func (k usedKey) signed(path string, info *module.Info) bool {
	data, err := module.Load(path)
	if err != nil {
		return false
	}
	payload, _, ok := module.CutSignature(data)
	return ok && sign.VerifyOrdered(info.Signature.PKCS7, payload, k.cert, info.Signature.Hash) == nil
}
