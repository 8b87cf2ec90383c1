package sign

import (
	"os"
	"path/filepath"
	"testing"

	"dkms/pkg/system"
)

// TestPortage: what Portage says counts, and make.conf where it says nothing.
func TestPortage(t *testing.T) {
	root := fake(t, map[string]string{"/etc/portage/make.conf": "MODULES_SIGN_KEY=/conf.key\nMODULES_SIGN_CERT=/conf.crt\n"})
	for name, test := range map[string]struct {
		answers          map[string]string
		key, cert, where string
	}{
		"profile":  {map[string]string{"MODULES_SIGN_KEY": "/profile.key", "MODULES_SIGN_CERT": "/profile.crt"}, "/profile.key", "/profile.crt", originPortage},
		"failures": {nil, "/conf.key", "/conf.crt", "/etc/portage/make.conf"},
		"one":      {map[string]string{"MODULES_SIGN_KEY": "/profile.key"}, "/profile.key", "/conf.crt", originPortage},
	} {
		s := Sources{Root: root, Distribution: "gentoo", Portage: func(name string) (string, bool) {
			v, ok := test.answers[name]
			return v, ok
		}}
		p, err := Find(s)
		if err != nil || p.KeyPath != root.Path(test.key) || p.CertPath != root.Path(test.cert) || p.Origin != test.where {
			t.Errorf("%s: Find = %+v, %v; want %+v", name, p, err, test)
		}
	}
}

// TestPortageq runs a program that answers as Portage's does.
func TestPortageq(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "portageq")
	script := `#!/bin/sh
[ "$1" = envvar ] || exit 2
case $2 in
SET) echo "pkcs11:token=a b;object=c" ;;
UNSET) echo; exit 1 ;;
OLD) echo ;;
LINES) echo a; echo b ;;
*) echo "Traceback" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	ask := portageq(t.Context(), runner(), program)
	for name, want := range map[string]struct {
		value string
		ok    bool
	}{
		"SET": {"pkcs11:token=a b;object=c", true}, "UNSET": {"", true}, "OLD": {"", true}, "LINES": {"a\nb", false}, "BROKEN": {"", false},
	} {
		if value, ok := ask(name); value != want.value || ok != want.ok {
			t.Errorf("%s: %q, %v; want %q, %v", name, value, ok, want.value, want.ok)
		}
	}
	if Portageq(t.Context(), runner(), system.Root{Dir: dir}) != nil {
		t.Error("Portageq answers for another root")
	}
}
