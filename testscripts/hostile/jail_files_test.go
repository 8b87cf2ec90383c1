package hostile

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const headers = "/usr/src/linux-headers-" + kernelRelease

// peer, as "peer listen FILE", waits for somebody at a socket that everybody
// may write to, and as "peer connect FILE" is that somebody.
const peer = `#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
	struct sockaddr_un a = { AF_UNIX };
	char buf[32] = "";
	strcpy(a.sun_path, argv[2]);
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (!strcmp(argv[1], "listen")) {
		bind(s, (struct sockaddr *)&a, sizeof a); chmod(argv[2], 0777); listen(s, 1);
		int c = accept(s, 0, 0);
		return read(c, buf, 31) > 0 ? puts(buf) < 0 : 1;
	}
	return connect(s, (struct sockaddr *)&a, sizeof a) || write(s, "hello of the build", 18) != 18;
}
`

func TestFiles(t *testing.T) {
	attack(t, "a build reaches a socket of another user", func(m *machine) string {
		m.pack("echo begun; ./peer connect /srv/socket/s && echo got a connection; true")
		m.tool("peer", peer)
		m.run(`mkdir -pm755 /srv/socket; chown 1000:1000 /srv/socket
			cp /usr/src/evil-1.0/peer /srv/peer; setpriv --reuid 1000 --regid 1000 --clear-groups /srv/peer listen /srv/socket/s & server=$!
			until [ -S /srv/socket/s ]; do sleep 0.05; done
			` + buildCommand + `; kill $server`)
		return gains(m.begun())
	})
	attack(t, "a build reaches a pipe of another user", func(m *machine) string {
		m.pack("echo begun; timeout 2 bash -c 'echo hello of the build >/srv/pipe' && echo got to write; true")
		m.run("mkdir -p /srv; mkfifo -m 666 /srv/pipe; chmod 666 /srv/pipe; timeout 20 cat /srv/pipe & reader=$!; " + buildCommand + "; kill $reader")
		return gains(m.begun())
	})
	attack(t, "headers for root's eyes only make a build root", func(m *machine) string {
		m.pack(outside)
		m.check(os.Chmod(m.path(headers), 0o700))
		said := m.run(besieged(buildCommand))
		if !strings.Contains(said, "evil/1.0: built") {
			t.Fatalf("the build cannot read the headers:\n%s", said)
		}
		return gains(m.begun())
	})
	attack(t, "the same where they cannot be lent", func(m *machine) string {
		m.pack(outside)
		m.tool("old", old)
		m.check(os.Chmod(m.path(headers), 0o700))
		said := m.run(besieged("/usr/src/evil-1.0/old " + buildCommand))
		if !strings.Contains(said, "hint: chmod -R a+rX "+headers) {
			return "a message without the next step: " + said
		}
		return ""
	})
	attack(t, "a build reads the signing key", func(m *machine) string {
		m.pack("echo begun; for f in /etc/keys/key.pem " + headers + "/certs/signing_key.pem; do grep -q PRIVATE $f && echo got $f; done; true")
		m.write(headers+"/certs/signing_key.pem", "-----BEGIN PRIVATE KEY-----\n", 0o600)
		m.check(os.Chmod(m.path(headers), 0o700))
		m.check(os.MkdirAll(m.path("/etc/keys"), 0o755))
		out, err := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", m.path("/etc/keys/key.pem"), "-out", m.path("/etc/keys/cert.pem")).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
		m.check(os.Chmod(m.path("/etc/keys/key.pem"), 0o644))
		m.write("/etc/dkms/framework.conf", "try_sign_modules=true\nmok_signing_key=/etc/keys/key.pem\nmok_certificate=/etc/keys/cert.pem\n", 0o644)
		m.run(buildCommand)
		return gains(m.begun())
	})
	attack(t, "a module changes what another one compiles through its cache", func(m *machine) string {
		m.pack("echo begun; touch /var/cache/dkms/ccache/x /var/cache/dkms/ccache/dkms-other/x && echo got to write; ls /var/cache/dkms/ccache/dkms-other && echo got to read; touch $CCACHE_DIR/x || echo got no cache; true")
		m.write("/etc/dkms/framework.conf", "compiler_launcher=ccache\n", 0o644)
		m.write("/var/cache/dkms/ccache/dkms-other/y", "", 0o600)
		m.check(os.Chmod(m.path("/var/cache/dkms/ccache/dkms-other"), 0o700))
		_, err := exec.LookPath("ccache")
		need(t, err == nil, "ccache is not installed")
		m.run(buildCommand)
		return gains(m.begun())
	})
}

// forker makes a hundred processes.
const forker = `#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
	int n = 0;
	for (; n < 100; n++) {
		pid_t child = fork();
		if (child < 0) break;
		if (child == 0) { pause(); _exit(0); }
	}
	if (n > 40) printf("got %d processes\n", n);
	return 0;
}
`

func TestLimits(t *testing.T) {
	attack(t, "a build makes a huge file", func(m *machine) string {
		m.write("/etc/dkms/framework.conf", "build_file_limit=1\n", 0o644)
		m.pack("echo begun; head -c 3M /dev/zero >huge; [ $(stat -c %s huge) -le 1048576 ] || echo got a huge file; true")
		m.run(buildCommand)
		return gains(m.begun())
	})
	attack(t, "a build forks without end", func(m *machine) string {
		m.write("/etc/dkms/framework.conf", "build_process_limit=40\n", 0o644)
		m.pack("echo begun; ./forker")
		m.tool("forker", forker)
		m.run(buildCommand)
		return gains(m.begun())
	})
	attack(t, "a build fills the disk with a file that has no name", func(m *machine) string {
		m.write("/etc/dkms/framework.conf", "build_disk_limit=48\n", 0o644)
		m.pack("echo begun; exec 5>hidden; rm hidden; head -c 900M /dev/zero >&5 && sync && echo got 900 MiB; sleep 100")
		said := m.run("mount -t tmpfs -o size=1g x /var/lib/dkms 2>/dev/null || { mkdir -p /var/lib/dkms; mount -t tmpfs -o size=1g x /var/lib/dkms; }; " + buildCommand + "; cat /var/lib/dkms/evil/1.0/build/make.log")
		if !strings.Contains(said, "begun") || !strings.Contains(said, "build_disk_limit") {
			return "the disk: " + said
		}
		return ""
	})
	attack(t, "a build that crashes leaves its memory", func(m *machine) string {
		m.pack("echo begun; [ $(ulimit -c) = 0 ] && ! ulimit -c unlimited || echo got a core file; true")
		m.run(buildCommand)
		return gains(m.begun())
	})
	attack(t, "a build that obeys no signal holds dkms", func(m *machine) string {
		m.pack("trap '' TERM INT HUP; echo begun; while :; do sleep 1000; done")
		begin := time.Now()
		m.run(buildCommand + " & until grep -q begun /var/lib/dkms/evil/1.0/.*/make.log 2>/dev/null; do sleep 0.05; done; t=$(date +%s%N); kill -TERM $!; wait $!; echo took $((($(date +%s%N)-t)/1000000)) ms")
		if time.Since(begin) > 30*time.Second {
			return "half a minute"
		}
		said := m.said.String()
		took := said[strings.LastIndex(said, "took ")+len("took "):]
		if ms, _, _ := strings.Cut(took, " "); len(ms) == 0 || len(ms) > 4 || len(ms) == 4 && ms > "3000" {
			return "time: " + ms + " ms"
		}
		return ""
	})
}
