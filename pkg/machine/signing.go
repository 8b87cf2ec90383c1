package machine

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/module"
	"dkms/pkg/plan"
	"dkms/pkg/sign"
	"dkms/pkg/tree"
)

// Signing is the configuration of signing for a kernel in framework.conf.
func (m *Machine) Signing(ctx context.Context, kernel string) (*conf.Framework, error) {
	return m.reader.Signing(ctx, kernel)
}

// SignMode says who signs what a run builds. The zero value leaves it to
// framework.conf on a system that runs; in an image, it is SignLater unless
// framework.conf says otherwise.
type SignMode string

// These are the other modes.
const (
	SignNever   SignMode = "never"    // nobody signs
	SignHostKey SignMode = "host-key" // the key of the machine that dkms runs on
	SignLater   SignMode = "later"    // the machine that will run the system, with its own key
)

// Valid reports whether there is such a mode.
func (s SignMode) Valid() bool {
	return slices.Contains([]SignMode{"", SignNever, SignHostKey, SignLater}, s)
}

// SignsLater tells whether what this run builds is left for the machine that will
// run the system to sign. try is try_sign_modules.
func SignsLater(m *Machine, try string) bool {
	return m.Settings.Sign == SignLater || m.Settings.Sign == "" && m.Host.Image && try != "true" && try != "false"
}

// HostPair returns the key pair of the machine that dkms runs on, for a kernel:
// where the system is an image, that is another one than the image's.
func HostPair(ctx context.Context, m *Machine, kernel string) (sign.Pair, error) {
	host := m.Host
	if host.Image {
		host.Root = host.Outside
	}
	distribution, err := conf.Distribution(host.Root)
	if err != nil {
		return sign.Pair{}, err
	}
	reader := *m.reader
	reader.Host, reader.Distribution = host, distribution
	options, err := reader.Signing(ctx, kernel)
	if err != nil {
		return sign.Pair{}, err
	}
	return sign.Find(sign.Sources{
		Root: host.Root, Key: options.SigningKey, Cert: options.Certificate, Env: host.Env, Distribution: distribution,
	})
}

// LeftToSign are the installed builds for some targets that were left for this
// machine to sign, if it has a key that its kernel trusts.
func LeftToSign(ctx context.Context, f *Facts, targets []tree.Target) (list []plan.Subject) {
	for _, t := range targets {
		for _, p := range f.Packages() {
			active := f.m.Tree.Active(p.Name, t)
			if active == "" {
				continue
			}
			mod := f.Module(Subject{tree.ID{Name: p.Name, Version: active}, t})
			if mod.waitsForKey() && f.key(ctx, t).trusted {
				list = append(list, plan.Subject{ID: mod.ID, Target: t, Built: true, Installed: true})
			}
		}
	}
	return list
}

// waitsForKey tells whether a build was left for this machine to sign.
func (mod *Module) waitsForKey() bool {
	h := mod.f.m.Host
	return mod.Manifest != nil && mod.Manifest.SignLater && !h.Image && !h.InChroot()
}

// FindPair returns the paths of the key and the certificate for a target, which
// need not exist yet.
func (m *Machine) FindPair(ctx context.Context, t tree.Target, options *conf.Framework) (sign.Pair, error) {
	return sign.Find(signSources(ctx, m, t, options))
}

// SignDigest returns the name of the digest of signatures for a target, or "" if
// the kernel does not support signatures.
func SignDigest(ctx context.Context, m *Machine, t tree.Target, options *conf.Framework) (string, error) {
	return sign.Digest(signSources(ctx, m, t, options))
}

func signSources(ctx context.Context, m *Machine, t tree.Target, options *conf.Framework) sign.Sources {
	k := m.Kernel(t)
	return sign.Sources{
		Root: m.Host.Root, Key: options.SigningKey, Cert: options.Certificate, Env: m.Host.Env,
		Distribution: m.Distribution, KernelSource: k.Headers,
		ConfigKey: k.Config().Text("CONFIG_MODULE_SIG_KEY"), ConfigHash: k.Config().SignHash(),
		Portage: sign.Portageq(ctx, m.Run, m.Host.Root),
	}
}

// Trust says whether this machine trusts a certificate, which may be nil.
func (m *Machine) Trust(t tree.Target, cert *x509.Certificate) *sign.Trust {
	trust, err := sign.Inspect(m.Host.Root, cert, m.Kernel(t).Config().Get)
	if err != nil {
		m.Report.Detailf("%v", err)
	}
	return trust
}

// usedKey is a certificate and whether the machine trusts it.
type usedKey struct {
	cert    *x509.Certificate
	trusted bool
	// hint says how to make the certificate trusted.
	hint string
	err  error
}

// SignaturesRequired tells whether this machine loads only signed modules.
func (f *Facts) SignaturesRequired(t tree.Target) bool {
	trust, _ := sign.Inspect(f.m.Host.Root, nil, f.m.Kernel(t).Config().Get)
	return trust.Enforced()
}

// key is the certificate in use for a target.
func (f *Facts) key(ctx context.Context, t tree.Target) usedKey {
	return f.keys.get(t, func() usedKey {
		pair, cert, err := f.m.Certificate(ctx, t)
		if err == nil && cert == nil {
			_, err = sign.ReadCertificate(pair.CertPath)
		}
		if err != nil {
			return usedKey{err: err}
		}
		trust := f.m.Trust(t, cert)
		return usedKey{cert: cert, trusted: trust.Trusted(), hint: EnrolHint(trust)}
	})
}

// originKey is the certificate that an imported build was signed with.
func (f *Facts) originKey(mod *Module) usedKey {
	if mod.Manifest == nil || mod.Manifest.Origin == nil {
		return usedKey{}
	}
	cert, err := x509.ParseCertificate(mod.Manifest.Certificate)
	if err != nil {
		return usedKey{}
	}
	return usedKey{cert: cert, trusted: f.m.Trust(mod.Target, cert).Trusted()}
}

// Signature tells whether a machine that loads only signed modules will load
// the installed files of a module.
func (f *Facts) Signature(ctx context.Context, mod *Module) Health {
	key, origin := f.key(ctx, mod.Target), f.originKey(mod)
	for _, path := range mod.signedFiles() {
		if h := signature(mod, path, key, origin); !h.OK() {
			return h
		}
	}
	return Health{State: Ready}
}

func signature(mod *Module, path string, key, origin usedKey) Health {
	info, err := module.Read(path)
	file := filepath.Base(path)
	h := Health{File: file, Hint: "dkms sign " + mod.ID.String()}
	switch {
	case err != nil:
		return damaged(path, err.Error())
	case info.Signature == nil || info.Signature.PKCS7 == nil:
		h.State, h.Reason = Unsigned, "is not signed, and this machine requires that"
	case origin.trusted && origin.signed(path, info):
		return Health{State: Ready}
	case key.err != nil:
		return Health{State: Untrusted, Reason: key.err.Error(), Hint: exit.Hint(key.err)}
	case !key.trusted:
		h.State, h.Reason = Untrusted, fmt.Sprintf("is signed by %q, which this machine does not trust", info.Signature.Signer)
		h.Hint = key.hint
	case !key.signed(path, info):
		h.State, h.Reason = Untrusted, fmt.Sprintf("is signed by %q, and not with the key that this machine trusts", info.Signature.Signer)
	default:
		return Health{State: Ready}
	}
	return h
}

// signedFiles lists the installed files of a build. The installed files of the
// original are not recorded, but are copies of its built files.
func (mod *Module) signedFiles() []string {
	var files []string
	if mod.Manifest != nil && len(mod.Manifest.Installed) > 0 {
		for _, f := range mod.Manifest.Installed {
			files = append(files, f.Path)
		}
		return files
	}
	files, err := mod.files()
	if os.IsNotExist(err) {
		return nil
	}
	return files
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

// Certificate is the certificate in use for a target, or nil if there is none
// yet, and its key pair.
func (m *Machine) Certificate(ctx context.Context, t tree.Target) (sign.Pair, *x509.Certificate, error) {
	options, err := m.Signing(ctx, t.Kernel)
	if err != nil {
		return sign.Pair{}, nil, err
	}
	pair, err := m.FindPair(ctx, t, options)
	if err != nil {
		return pair, nil, err
	}
	if _, have := pair.Exists(); !have {
		return pair, nil, nil
	}
	cert, err := sign.ReadCertificate(pair.CertPath)
	return pair, cert, err
}
