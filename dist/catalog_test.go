package dist_test

import (
	"strings"
	"testing"
)

// TestCatalog has the journal's own program compile the catalog and explain the
// message.
func TestCatalog(t *testing.T) {
	need(t, "journalctl")
	dest := install(t, "DISTRO=debian")
	if out, code := run(t, "/", nil, "journalctl", "--root="+dest, "--update-catalog"); code != 0 || out != "" {
		t.Fatalf("journalctl --update-catalog = %d, %q", code, out)
	}
	out, code := run(t, "/", nil, "journalctl", "--root="+dest, "--no-pager", "--dump-catalog")
	for _, want := range []string{"Subject: The module @MODULE@ is not ready", "Defined-By: dkms", "dkms check", "dkms why @MODULE@"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("journalctl --dump-catalog = %d, without %q:\n%s", code, want, out)
		}
	}
}
