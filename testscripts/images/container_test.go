//go:build images

package images

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
	"dkms/testscripts/testkit"
)

// inside runs a command as podman and Docker do while they build an image: as
// root with few capabilities, and with the kernel of another system.
const inside = `unshare --mount --pid --fork --uts --ipc sh -ec '
mount --bind image image
mount -t proc proc image/proc
mount --bind /dev/null image/run/.containerenv
caps=-all
for cap in chown dac_override fowner fsetid kill net_bind_service setfcap setgid setpcap setuid sys_chroot; do
	caps=$caps,+$cap
done
exec setpriv --bounding-set=$caps --inh-caps=-all env -i container=oci http_proxy="${http_proxy-}" \
	PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive chroot image sh -ec "$1"' - `

// The Containerfile of README is built without a container engine: each of its
// lines is carried out.
func TestContainerfile(t *testing.T) {
	chroot.Require(t, "debootstrap", "go", "make", "unshare", "setpriv")
	dir, bin := t.TempDir(), t.TempDir()
	testkit.Must(t, chroot.Run("make", "-C", "../..", "BIN="+bin, "all"))
	writeHello(t, filepath.Join(dir, "hello"))
	testkit.Must(t, chroot.Run("cp", filepath.Join(bin, "dkms"), filepath.Join(dir, "dkms")))
	var said strings.Builder
	for line := range strings.Lines(example(t, "FROM ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "FROM":
			testkit.Must(t, chroot.DebootstrapSuite(filepath.Join(dir, "image"), strings.TrimPrefix(rest, "debian:"), "ca-certificates"))
			testkit.Write(t, filepath.Join(dir, "image/run/.containerenv"), "")
		case "COPY":
			from, to, _ := strings.Cut(rest, " ")
			run(t, dir, bin, "cp -r "+from+" image"+to)
		case "RUN":
			said.WriteString(run(t, dir, bin, inside+"'"+strings.ReplaceAll(rest, "'", `'\''`)+"' 2>&1"))
		default:
			t.Fatalf("the Containerfile has the line %q", line)
		}
	}
	text := said.String()
	for _, want := range []string{`hello/1\.0: installed for 6\.`, `not signed, as this is a chroot or container`, `6\.\S+: safe to boot`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no line matches %q:\n%s", want, text[max(0, len(text)-3000):])
		}
	}
	kernel := strings.TrimSpace(run(t, dir, bin, "ls image/usr/lib/modules"))
	if magic := run(t, dir, bin, "modinfo -F vermagic image/usr/lib/modules/*/updates/dkms/hello.ko*"); !strings.HasPrefix(magic, kernel+" ") {
		t.Errorf("vermagic is %q, of kernel %s", magic, kernel)
	}
	if keys, _ := filepath.Glob(filepath.Join(dir, "image/var/lib/dkms/mok.*")); len(keys) > 0 {
		t.Errorf("a key is in the image: %s", keys)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "image/var/lib/dkms/hello/1.0", kernel, "x86_64/.manifest.json")); !strings.Contains(string(text), `"sign_later": true`) {
		t.Errorf("the machine that boots it is not to sign: %s", text)
	}
}
