package hostile

import (
	"strings"
	"testing"
)

// asUser runs a command as a user without any power.
const asUser = "setpriv --reuid 1000 --regid 1000 --clear-groups "

const kept = "/var/lib/dkms/evil/1.0/" + kernelRelease + "/x86_64"

// secretIn tells whether what only root may read is in a text.
func secretIn(text string) string {
	if strings.Contains(text, "secret of the machine") {
		return "what only root may read"
	}
	return ""
}

func TestLocks(t *testing.T) {
	attack(t, "a user holds the lock of the tree, opened when that was possible", func(m *machine) string {
		m.pack("")
		m.run("mkdir -p /var/lib/dkms; touch /var/lib/dkms/.lock; chmod 644 /var/lib/dkms/.lock")
		said := m.run(asUser + "flock /var/lib/dkms/.lock sleep 50 & sleep 0.5; timeout 30 " + buildCommand + "; echo status $?")
		if !strings.Contains(said, "status 0") {
			return "dkms waits for a user"
		}
		return ""
	})
	attack(t, "a user locks every directory of dkms", func(m *machine) string {
		m.pack("")
		m.run("mkdir -p /var/lib/dkms")
		said := m.run(asUser + "flock /var/lib/dkms sleep 50 & sleep 0.5; timeout 30 " + buildCommand + "; echo status $?; " +
			asUser + "flock -n /var/lib/dkms/.lock echo has the lock")
		if !strings.Contains(said, "status 0") || strings.Contains(said, "has the lock") {
			return "a lock that root needs"
		}
		return ""
	})
}

func TestLeftovers(t *testing.T) {
	attack(t, "POST_BUILD has sign publish what links lead to", func(m *machine) string {
		m.pack("", "POST_BUILD=post.sh")
		m.write("/usr/src/evil-1.0/post.sh", `#!/bin/bash
			cd ../$kernelver/$arch && ln -s /etc/shadow module/shadow.ko && ln -s /etc/shadow shadow && rm -f log/make.log && ln -s /etc/shadow log/make.log
		`, 0o755)
		m.run(buildCommand + "; /dkms sign evil/1.0; /dkms mktarball evil/1.0 -k " + kernelRelease + " --archive=/root/a.tar")
		return secretIn(m.run("/dkms log evil/1.0; cat /root/a.tar; find " + kept + " -not -type d -perm /004 -exec cat {} +"))
	})
	attack(t, "a module that was swapped after the build gets root's signature", func(m *machine) string {
		m.pack("")
		m.run(buildCommand)
		if !strings.Contains(m.run("/dkms status"), "built") {
			t.Fatal(m.said.String())
		}
		said := m.run("cd " + kept + "/module && strip --remove-section=.comment -g evil.ko && cp evil.ko /root/swapped.ko; /dkms sign evil/1.0 && echo it was signed; /dkms install evil/1.0 -k " +
			kernelRelease + "; cmp /root/swapped.ko /lib/modules/" + kernelRelease + "/updates/dkms/evil.ko && echo it was installed")
		if strings.Contains(said, "it was signed") || strings.Contains(said, "it was installed") {
			return "a signature, or the kernel's directory"
		}
		return ""
	})
	attack(t, "POST_BUILD plants builds, and changes the one before", func(m *machine) string {
		m.pack("")
		m.run("/dkms install evil/1.0 -k " + kernelRelease)
		m.pack("", "POST_BUILD=post.sh")
		m.write("/usr/src/evil-1.0/post.sh", `#!/bin/bash
			cd ../$kernelver || exit
			for before in .tmp_*; do ln -sf /etc/shadow $before/module/evil.ko && echo it reached the build before; done
			mkdir -m 777 other && ln -s /etc/shadow other/link && echo it made a build of another machine
			exit 0
		`, 0o755)
		m.run("/dkms install evil/1.0 --force -k " + kernelRelease)
		return m.run("grep '^it ' " + kept + "/log/make.log; find /var/lib/dkms ! -name source ! -name 'kernel-*' \\( -type l -o -perm /022 -o -name other \\)")
	})
	attack(t, "POST_BUILD leaves files that others may write, or run as root", func(m *machine) string {
		m.pack("", "POST_BUILD=post.sh")
		m.write("/usr/src/evil-1.0/post.sh", "#!/bin/bash\ncd ../$kernelver/$arch && cp /bin/true id && chmod 6777 id module/evil.ko . module\n", 0o755)
		m.run(buildCommand)
		return m.run("find /var/lib/dkms -not -type l \\( -perm /7022 -o -not -user 0 \\)")
	})
	attack(t, "a log without end", func(m *machine) string {
		m.pack("./grow; printf '\\nafter the hole\\n'")
		m.tool("grow", "#include <unistd.h>\nint main(void) { return ftruncate(1, 1L << 40); }\n")
		m.run(buildCommand)
		said := m.run("ulimit -v 4000000; timeout 40 /dkms log evil/1.0 | tail -c 100000 | tr -d '\\0'; echo status ${PIPESTATUS[0]}; timeout 40 /dkms mktarball evil/1.0 -k " +
			kernelRelease + " --archive=/root/a.tar.gz; echo status $?; stat -c 'size %s' /var/lib/dkms/evil/1.0/build/make.log " + kept + "/log/make.log")
		if strings.Count(said, "status 0") != 2 || strings.Contains(said, "size 1099") {
			return "the memory and time of root"
		}
		return ""
	})
	attack(t, "what a build prints is obeyed by root's terminal", func(m *machine) string {
		m.pack(`printf '\033]0;title\007\033[2J: error: gone\n'; exit 1`)
		m.run(buildCommand)
		if said := m.run("/dkms log evil/1.0; /dkms why evil/1.0; /dkms check; /dkms lint evil/1.0; " + buildCommand); strings.ContainsAny(said, "\x1b\a") {
			return "the terminal"
		}
		return ""
	})
}

// swapper exchanges the two files that it is given, for ever.
const swapper = `#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
int main(int argc, char **argv) { for (;;) renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE); }
`

func TestSources(t *testing.T) {
	attack(t, "a file of the sources becomes a link while root copies it", func(m *machine) string {
		m.pack("")
		m.tool("swap", swapper)
		return secretIn(m.run(`cp -r /usr/src/evil-1.0 /home/evil; cp /usr/src/evil-1.0/swap /home/swap; rm -r /usr/src/evil-1.0
			echo plain >/home/evil/file; ln -s /etc/shadow /home/link; chown -R 1000:1000 /home
			` + asUser + `/home/swap /home/evil/file /home/link & swapper=$!
			for i in {1..40}; do /dkms add /home/evil --force >/dev/null 2>&1; [ -L /usr/src/evil-1.0/file ] || cat /usr/src/evil-1.0/file; done; kill $swapper`))
	})
	attack(t, "a dkms.conf is a link to what only root may read", func(m *machine) string {
		m.pack("")
		m.write("/etc/secret", "'secret of the machine'\n", 0o600)
		m.run("/dkms add evil/1.0; mv /usr/src/evil-1.0/dkms.conf /home/evil.conf; ln -s /etc/secret /usr/src/evil-1.0/dkms.conf")
		return secretIn(m.run("/dkms autoinstall -k " + kernelRelease + "; /dkms lint /usr/src/evil-1.0; " + asUser + "/dkms why evil; cat /var/lib/dkms/evil/1.0/.failure*; " +
			"rm /usr/src/evil-1.0/dkms.conf; ln -s /home/evil.conf /usr/src/evil-1.0/dkms.conf; " + buildCommand + " || echo secret of the machine, which a dkms.conf is not"))
	})
	attack(t, "modes of the sources survive", func(m *machine) string {
		m.pack("")
		m.run("mv /usr/src/evil-1.0 /home/evil; cp /bin/true /home/evil/id; chmod 6777 /home/evil/id; chmod 777 /home/evil; /dkms add /home/evil")
		return m.run("find /usr/src/evil-1.0 -perm /7022 -not -type l")
	})
}

func TestElsewhere(t *testing.T) {
	attack(t, "a link in /tmp has mktarball write to where it leads", func(m *machine) string {
		m.pack("")
		m.run("echo kept >/root/target; chmod 1777 /tmp; sysctl -qw fs.protected_symlinks=0; " + asUser + "ln -s /root/target /tmp/a.tar; " +
			asUser + "ln -s /root /tmp/d; /dkms add evil/1.0; /dkms mktarball evil/1.0 --source-only --archive=/tmp/a.tar; /dkms mktarball evil/1.0 --source-only --archive=/tmp/d/b.tar")
		if m.read("/root/target") != "kept\n" || m.read("/root/b.tar") != "" {
			return "files of root"
		}
		return ""
	})
}
