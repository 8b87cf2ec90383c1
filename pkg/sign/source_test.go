package sign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// bothPEM looks like a PEM file with a key and a certificate.
const bothPEM = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n" +
	"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"

func TestFind(t *testing.T) {
	const ks = "/usr/src/linux-6.1"
	env := func(kv ...string) map[string]string { return system.EnvMap(kv) }
	tests := []struct {
		name  string
		s     Sources
		files map[string]string
		want  string // key, certificate, origin
	}{
		{"nothing", Sources{Distribution: "debian"}, nil, "/var/lib/dkms/mok.key /var/lib/dkms/mok.pub default"},
		{"framework", Sources{Key: "/k", Cert: "/c", Distribution: "gentoo", Env: env("MODULES_SIGN_KEY=/e")}, nil, "/k /c framework.conf"},
		{"framework key only", Sources{Key: "/k"}, nil, "/k /var/lib/dkms/mok.pub framework.conf"},
		{"framework one file", Sources{Key: "/k"}, map[string]string{"/k": bothPEM}, "/k /k framework.conf"},
		{"framework certificate only", Sources{Cert: "/c"}, nil, "/var/lib/dkms/mok.key /c default"},
		{"framework token", Sources{Key: "pkcs11:x", Cert: "/c"}, nil, "pkcs11:x /c framework.conf"},
		{"ubuntu", Sources{Distribution: "ubuntu debian", Cert: "/c"}, map[string]string{ubuntuKey: "", ubuntuCert: ""},
			ubuntuKey + " " + ubuntuCert + " ubuntu"},
		{"ubuntu without", Sources{Distribution: "ubuntu"}, nil, "/var/lib/dkms/mok.key /var/lib/dkms/mok.pub default"},
		{"ubuntu half", Sources{Distribution: "ubuntu"}, map[string]string{ubuntuCert: ""}, ubuntuKey + " " + ubuntuCert + " ubuntu"},
		{"ubuntu files on debian", Sources{Distribution: "debian"}, map[string]string{ubuntuKey: "", ubuntuCert: ""},
			"/var/lib/dkms/mok.key /var/lib/dkms/mok.pub default"},
		{"environment elsewhere", Sources{Distribution: "fedora", Env: env("MODULES_SIGN_KEY=/e"), ConfigKey: "/g", KernelSource: ks},
			map[string]string{"/g": bothPEM, "/etc/portage/make.conf": "MODULES_SIGN_KEY=/m"},
			"/var/lib/dkms/mok.key /var/lib/dkms/mok.pub default"},
		{"environment", Sources{Distribution: "gentoo", Env: env("MODULES_SIGN_KEY=/e", "MODULES_SIGN_CERT=/f")},
			map[string]string{"/etc/portage/make.conf": "broken"}, "/e /f environment"},
		{"environment one file", Sources{Distribution: "gentoo", Env: env("MODULES_SIGN_KEY=/e")},
			map[string]string{"/e": bothPEM}, "/e /e environment"},
		{"environment key, file certificate", Sources{Distribution: "gentoo", Env: env("MODULES_SIGN_KEY=/e")},
			map[string]string{"/e": bothPEM, "/etc/portage/make.conf": "MODULES_SIGN_CERT=/f"}, "/e /f environment"},
		{"environment relative", Sources{Distribution: "gentoo", KernelSource: ks, Env: env("MODULES_SIGN_KEY=k.pem")}, nil,
			ks + "/k.pem " + ks + "/certs/signing_key.x509 environment"},
		{"environment token", Sources{Distribution: "gentoo", KernelSource: ks, Env: env("MODULES_SIGN_KEY=pkcs11:x")}, nil,
			"pkcs11:x " + ks + "/certs/signing_key.x509 environment"},
		{"make.conf", Sources{Distribution: "gentoo", ConfigKey: "/g", KernelSource: ks},
			map[string]string{"/g": bothPEM, "/etc/portage/make.conf": "D=/keys\nexport MODULES_SIGN_KEY='${D}/m' MODULES_SIGN_CERT=$D/n"},
			"/keys/m /keys/n /etc/portage/make.conf"},
		{"old make.conf", Sources{Distribution: "gentoo"}, map[string]string{"/etc/make.conf": "MODULES_SIGN_KEY=/m MODULES_SIGN_CERT=/n"},
			"/m /n /etc/make.conf"},
		{"framework certificate over make.conf", Sources{Distribution: "gentoo", Cert: "/c"},
			map[string]string{"/etc/make.conf": "MODULES_SIGN_KEY=/m MODULES_SIGN_CERT=/n"}, "/m /c /etc/make.conf"},
		{"kernel", Sources{Distribution: "gentoo", KernelSource: ks, ConfigKey: "certs/signing_key.pem"},
			map[string]string{ks + "/certs/signing_key.pem": bothPEM},
			ks + "/certs/signing_key.pem " + ks + "/certs/signing_key.pem CONFIG_MODULE_SIG_KEY"},
		{"kernel, two files", Sources{Distribution: "gentoo", KernelSource: ks, ConfigKey: "certs/signing_key.pem"},
			map[string]string{ks + "/certs/signing_key.pem": "no certificate"},
			ks + "/certs/signing_key.pem " + ks + "/certs/signing_key.x509 CONFIG_MODULE_SIG_KEY"},
		{"kernel without the key", Sources{Distribution: "gentoo", KernelSource: ks, ConfigKey: "certs/signing_key.pem"}, nil,
			"/var/lib/dkms/mok.key /var/lib/dkms/mok.pub default"},
		{"kernel without source", Sources{Distribution: "gentoo", ConfigKey: "certs/signing_key.pem"}, nil,
			"/var/lib/dkms/mok.key /var/lib/dkms/mok.pub default"},
		{"certificate without key", Sources{Distribution: "gentoo", Env: env("MODULES_SIGN_CERT=/f")}, nil,
			"/var/lib/dkms/mok.key /var/lib/dkms/mok.pub default"},
	}
	for _, tt := range tests {
		tt.s.Root = fake(t, tt.files)
		if tt.s.KernelSource != "" {
			tt.s.KernelSource = tt.s.Root.Path(tt.s.KernelSource)
		}
		p, err := Find(tt.s)
		got := strings.ReplaceAll(p.KeyPath+" "+p.CertPath+" "+p.Origin, tt.s.Root.Dir, "")
		if err != nil || got != tt.want {
			t.Errorf("%s: Find = %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestFindErrors(t *testing.T) {
	tests := []struct {
		name string
		s    Sources
		conf string
		want string
	}{
		{"relative key", Sources{Key: "k"}, "", "mok_signing_key: k: not an absolute path"},
		{"relative certificate", Sources{Key: "/k", Cert: "c"}, "", "mok_certificate: c: not"},
		{"relative certificate only", Sources{Cert: "c"}, "", "mok_certificate: c: not"},
		{"broken make.conf", Sources{Distribution: "gentoo"}, "A", "make.conf:1: "},
		{"broken value", Sources{Distribution: "gentoo"}, "MODULES_SIGN_KEY=${x:-/k}", "make.conf:1: MODULES_SIGN_KEY: $"},
		{"broken certificate", Sources{Distribution: "gentoo"}, "MODULES_SIGN_KEY=/k MODULES_SIGN_CERT=${x:-/k}", "make.conf:1: MODULES_SIGN_CERT: $"},
		{"relative without source", Sources{Distribution: "gentoo"}, "MODULES_SIGN_KEY=k", "/etc/portage/make.conf: k: relative"},
		{"token without certificate", Sources{Distribution: "gentoo"}, "MODULES_SIGN_KEY='pkcs11:a=b'", "relative to the kernel source"},
	}
	for _, tt := range tests {
		tt.s.Root = fake(t, map[string]string{"/etc/portage/make.conf": tt.conf})
		if p, err := Find(tt.s); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Find = %v, %v; want ...%s", tt.name, p, err, tt.want)
		}
	}
}

func TestDigest(t *testing.T) {
	tests := []struct{ distribution, kernel, env, conf, want, err string }{
		{"gentoo", "sha256", "", "", "sha256", ""},
		{"gentoo", "sha256", "", "MODULES_SIGN_HASH=sha384", "sha384", ""},
		{"gentoo", "sha256", "sha512", "MODULES_SIGN_HASH=sha384", "sha512", ""},
		{"gentoo", "", "sha512", "", "", ""},
		{"gentoo", "sha256", "", "MODULES_SIGN_HASH=md5", "", "MODULES_SIGN_HASH: md5: not a digest of module signatures (/etc/portage/make.conf)"},
		{"gentoo", "sha256", "", "MODULES_SIGN_HASH=${x:-sha1}", "", "make.conf:1: MODULES_SIGN_HASH: $"},
		{"debian", "sha256", "sha512", "MODULES_SIGN_HASH=sha384", "sha256", ""},
	}
	for _, tt := range tests {
		got, err := Digest(Sources{
			Root: fake(t, map[string]string{"/etc/portage/make.conf": tt.conf}), Distribution: tt.distribution,
			ConfigHash: tt.kernel, Env: map[string]string{"MODULES_SIGN_HASH": tt.env},
		})
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("Digest(%+v) = %q, %v", tt, got, err)
		}
	}
}

func TestEnsureOnlyWhereItMay(t *testing.T) {
	for _, origin := range []string{"environment", "/etc/portage/make.conf", "CONFIG_MODULE_SIG_KEY", "ubuntu"} {
		dir := t.TempDir()
		p := Pair{KeyPath: filepath.Join(dir, "k"), CertPath: filepath.Join(dir, "c"), Origin: origin}
		err := p.Ensure(t.Context(), someTime())
		if err == nil || exit.Hint(err) == "" || p.Generated {
			t.Errorf("%s: Ensure = %v (hint %q); want an error with a hint", origin, err, exit.Hint(err))
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: left behind %v", origin, left)
		}
	}
}

func TestFindSignFile(t *testing.T) {
	const k = "6.1.0-56-amd64"
	const build = "/lib/modules/" + k + "/build/scripts/sign-file"
	tests := []struct {
		distribution, headers, configured string
		files                             []string
		want                              string
	}{
		{"debian", "", "", []string{"/usr/lib/linux-kbuild-6.1/scripts/sign-file", build}, "/usr/lib/linux-kbuild-6.1/scripts/sign-file"},
		{"debian", "", "", []string{build}, build},
		{"debian", "", "", nil, build},
		{"debian", "", "/opt/sign", []string{build}, "/opt/sign"},
		{"ubuntu debian", "", "", []string{"/usr/bin/kmodsign", build}, "/usr/bin/kmodsign"},
		{"ubuntu", "", "", []string{"/usr/src/linux-headers-" + k + "/scripts/sign-file", build}, "/usr/src/linux-headers-" + k + "/scripts/sign-file"},
		{"gentoo", "", "", []string{"/usr/src/linux-" + k + "/scripts/sign-file", build}, "/usr/src/linux-" + k + "/scripts/sign-file"},
		{"fedora", "", "", []string{"/usr/bin/kmodsign", "/usr/lib/linux-kbuild-6.1/scripts/sign-file"}, build},
		{"arch", "/headers", "", []string{"/headers/scripts/sign-file"}, "/headers/scripts/sign-file"},
		{"arch", "/headers", "", []string{"/headers/scripts/sign-file", build}, build},
		{"", "/headers", "", nil, build},
	}
	for _, tt := range tests {
		files := map[string]string{}
		for _, f := range tt.files {
			files[f] = ""
		}
		root := fake(t, files)
		headers := tt.headers
		if headers != "" {
			headers = root.Path(headers)
		}
		got := strings.TrimPrefix(FindSignFile(root, tt.distribution, k, headers, tt.configured), root.Dir)
		if got != tt.want {
			t.Errorf("FindSignFile(%q, %v) = %s; want %s", tt.distribution, tt.files, got, tt.want)
		}
	}
}
