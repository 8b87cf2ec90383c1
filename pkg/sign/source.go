package sign

import (
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Sources says where to look for the signing pair. Paths in settings are below
// Root; KernelSource is a complete path.
type Sources struct {
	Root system.Root
	// Key and Cert are mok_signing_key and mok_certificate of framework.conf,
	// expanded.
	Key, Cert string
	// Env is the caller's environment.
	Env map[string]string
	// Portage asks Portage for a setting; ok is false if Portage does not know
	// the setting. If Portage is nil, make.conf is read. See [Portageq].
	Portage func(name string) (value string, ok bool)
	// Distribution is the identity of the system, as in "ubuntu debian".
	Distribution string
	// KernelSource is the headers directory of the target kernel.
	KernelSource string
	// ConfigKey and ConfigHash are CONFIG_MODULE_SIG_KEY and
	// CONFIG_MODULE_SIG_HASH of the target kernel, unquoted.
	ConfigKey, ConfigHash string
}

// These are the origins of a [Pair] that the code uses in more than one place.
const (
	originFramework = "framework.conf"
	originEnv       = "environment"
	originPortage   = "Portage"
	originConfig    = "CONFIG_MODULE_SIG_KEY"
	originUbuntu    = "ubuntu"
	originDefault   = "default"
)

// The default pair does not depend on dkms_tree.
const (
	defaultKey  = "/var/lib/dkms/mok.key"
	defaultCert = "/var/lib/dkms/mok.pub"
	ubuntuKey   = "/var/lib/shim-signed/mok/MOK.priv"
	ubuntuCert  = "/var/lib/shim-signed/mok/MOK.der"
)

// Pair is the paths of a key and its certificate, and their origin.
type Pair struct {
	// KeyPath is a file or a pkcs11: URI, CertPath is a file; both may be the
	// same PEM file.
	KeyPath, CertPath string
	// Origin is "framework.conf", "environment", "Portage", the path of a
	// make.conf, "CONFIG_MODULE_SIG_KEY", "ubuntu" or "default".
	Origin string
	// Generated says that Ensure generated the pair.
	Generated bool
}

// Find chooses the signing pair and changes nothing. The pair need not exist.
func Find(s Sources) (Pair, error) {
	if s.Key != "" {
		return s.configured()
	}
	if strings.HasPrefix(s.Distribution, "gentoo") {
		if p, err := s.gentoo(); err != nil || p.KeyPath != "" {
			return p, err
		}
	}
	if strings.HasPrefix(s.Distribution, "ubuntu") {
		p := Pair{KeyPath: s.Root.Path(ubuntuKey), CertPath: s.Root.Path(ubuntuCert), Origin: originUbuntu}
		// A single half is not skipped: it may be the enrolled half.
		if key, cert := p.Exists(); key || cert {
			return p, nil
		}
	}
	return s.fallback()
}

// Digest returns the name of the digest of signatures: that of the kernel, and on
// Gentoo the MODULES_SIGN_HASH of the environment or of Portage, if there is one
// and the kernel supports signatures.
func Digest(s Sources) (string, error) {
	if s.ConfigHash == "" || !strings.HasPrefix(s.Distribution, "gentoo") {
		return s.ConfigHash, nil
	}
	hash, origin := s.Env["MODULES_SIGN_HASH"], originEnv
	if hash == "" {
		var err error
		if hash, origin, err = s.setting("MODULES_SIGN_HASH"); err != nil {
			return "", err
		}
	}
	switch {
	case hash == "":
		return s.ConfigHash, nil
	case digestByName(hash) == nil:
		return "", exit.Errorf(exit.Usage, "MODULES_SIGN_HASH: %s: not a digest of module signatures (%s)", hash, origin).
			WithHint("correct MODULES_SIGN_HASH, or remove it: the kernel's is %s", s.ConfigHash)
	}
	return hash, nil
}

// configured is the pair of framework.conf, if that names a key.
func (s *Sources) configured() (Pair, error) {
	p := Pair{KeyPath: s.Key, Origin: originFramework}
	if !isPKCS11(s.Key) {
		if !filepath.IsAbs(s.Key) {
			return Pair{}, notAbsolute("mok_signing_key", s.Key)
		}
		p.KeyPath = s.Root.Path(s.Key)
	}
	switch {
	case s.Cert == "" && !isPKCS11(s.Key) && holdsCertificate(p.KeyPath):
		p.CertPath = p.KeyPath
	case s.Cert == "":
		p.CertPath = s.Root.Path(defaultCert)
	case !filepath.IsAbs(s.Cert):
		return Pair{}, notAbsolute("mok_certificate", s.Cert)
	default:
		p.CertPath = s.Root.Path(s.Cert)
	}
	return p, nil
}

// fallback is the default pair; framework.conf may name another certificate.
func (s *Sources) fallback() (Pair, error) {
	p := Pair{KeyPath: s.Root.Path(defaultKey), CertPath: s.Root.Path(defaultCert), Origin: originDefault}
	if s.Cert != "" {
		if !filepath.IsAbs(s.Cert) {
			return Pair{}, notAbsolute("mok_certificate", s.Cert)
		}
		p.CertPath = s.Root.Path(s.Cert)
	}
	return p, nil
}

func notAbsolute(option, value string) error {
	return exit.Errorf(exit.Usage, "%s: %s: not an absolute path", option, value).
		WithHint("correct /etc/dkms/framework.conf")
}

// gentoo is the pair that Portage builds modules with, if there is one: each
// half from the environment, else from make.conf, else the kernel's own.
func (s *Sources) gentoo() (Pair, error) {
	key, cert, origin := s.Env["MODULES_SIGN_KEY"], s.Env["MODULES_SIGN_CERT"], originEnv
	if key == "" || cert == "" {
		var err error
		if key == "" {
			key, origin, err = s.setting("MODULES_SIGN_KEY")
		}
		if cert == "" && err == nil {
			cert, _, err = s.setting("MODULES_SIGN_CERT")
		}
		if err != nil {
			return Pair{}, err
		}
	}
	if s.Cert != "" {
		cert = s.Cert
	}
	if key != "" {
		return s.portage(key, cert, origin)
	}
	if s.ConfigKey == "" {
		return Pair{}, nil
	}
	return s.kernelKey(cert)
}

// kernelKey is the key that signed the kernel's own modules. The key is often
// missing: distributions delete it after the build.
func (s *Sources) kernelKey(cert string) (Pair, error) {
	if !filepath.IsAbs(s.ConfigKey) && !isPKCS11(s.ConfigKey) && s.KernelSource == "" {
		return Pair{}, nil
	}
	p, err := s.portage(s.ConfigKey, cert, originConfig)
	if err != nil {
		return Pair{}, err
	}
	if key, _ := p.Exists(); !key {
		return Pair{}, nil
	}
	return p, nil
}

// portage makes a pair of paths that may be relative to the kernel source.
func (s *Sources) portage(key, cert, origin string) (Pair, error) {
	p := Pair{KeyPath: key, Origin: origin}
	var err error
	if !isPKCS11(key) {
		if p.KeyPath, err = s.beside(key, origin); err != nil {
			return Pair{}, err
		}
		if cert == "" && holdsCertificate(p.KeyPath) {
			p.CertPath = p.KeyPath
			return p, nil
		}
	}
	if cert == "" {
		cert = "certs/signing_key.x509"
	}
	p.CertPath, err = s.beside(cert, origin)
	if err != nil {
		return Pair{}, err
	}
	return p, nil
}

func (s *Sources) beside(path, origin string) (string, error) {
	if filepath.IsAbs(path) {
		return s.Root.Path(path), nil
	}
	if s.KernelSource == "" {
		return "", exit.Errorf(exit.Usage, "%s: %s: relative to the kernel source, which is missing", origin, path).
			WithHint("give an absolute path")
	}
	return filepath.Join(s.KernelSource, path), nil
}

// Exists reports which halves exist. A key on a token counts as existing.
func (p Pair) Exists() (key, cert bool) {
	return isPKCS11(p.KeyPath) || system.IsFile(p.KeyPath), system.IsFile(p.CertPath)
}
