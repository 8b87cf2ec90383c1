package hostile

import (
	"strings"
	"testing"
)

// keyring, as root, runs a program with a secret in the session keyring; as an
// attacker, called without arguments, it looks for the secret and changes it.
const keyring = `#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
	char buf[64] = "";
	if (argc > 1) {
		syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
		if (syscall(SYS_add_key, "user", "of root", "secret of root", 14, KEY_SPEC_SESSION_KEYRING) < 0)
			perror("add_key");
		execv(argv[1], argv + 1);
		return 1;
	}
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "of root", 0);
	if (key >= 0 && syscall(SYS_keyctl, KEYCTL_READ, key, buf, 63L) > 0)
		printf("got %s\n", buf);
	if (key >= 0 && syscall(SYS_keyctl, KEYCTL_UPDATE, key, "x", 1L) == 0)
		printf("got to change a key\n");
	if (syscall(SYS_add_key, "user", "planted", "x", 1L, KEY_SPEC_SESSION_KEYRING) >= 0)
		printf("got to add a key\n");
	return 0;
}
`

// caller tries the system calls that no build needs.
const caller = `#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void got(const char *what, long result) {
	if (result >= 0)
		printf("got %s\n", what), fflush(stdout);
}
int main(void) {
	char attr[128] = { 1 };
	got("a Unix socket", socket(AF_UNIX, SOCK_STREAM, 0));
	got("a virtual machine's socket", socket(AF_VSOCK, SOCK_STREAM, 0));
	int pair[2];
	got("a pair that can be connected", socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	got("io_uring", syscall(SYS_io_uring_setup, 1, attr + 8));
	got("userfaultfd", syscall(SYS_userfaultfd, 1));
	got("ptrace", syscall(SYS_ptrace, 0, 0, 0, 0));
	got("bpf", syscall(SYS_bpf, 0, attr, sizeof attr));
	memset(attr, 0, sizeof attr);
	((int *)attr)[0] = 1; ((int *)attr)[1] = 112; attr[40] = 0x61; /* a software event of its own, without the kernel */
	got("perf", syscall(SYS_perf_event_open, attr, 0, -1, -1, 0));
	pid_t child = syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0);
	if (child == 0) _exit(0);
	got("a user namespace by clone", child);
	unsigned long args[11] = { CLONE_NEWUSER, 0, 0, 0, SIGCHLD };
	child = syscall(SYS_clone3, args, sizeof args);
	if (child == 0) _exit(0);
	got("a user namespace by clone3", child);
	got("a user namespace", unshare(CLONE_NEWUSER));
	got("the mounts of a namespace", unshare(CLONE_NEWNS));
	return 0;
}
`

// gains are the lines of a log that say what an attacker has got.
func gains(log string) string {
	var list []string
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "got ") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.Join(list, ", ")
}

func TestCalls(t *testing.T) {
	attack(t, "a build uses root's session keyring", func(m *machine) string {
		m.pack("echo begun; ./keyring")
		m.tool("keyring", keyring)
		m.run("/usr/src/evil-1.0/keyring " + buildCommand)
		return gains(m.begun())
	})
	attack(t, "a build uses system calls that no build needs", func(m *machine) string {
		m.pack("echo begun; ./caller")
		m.tool("caller", caller)
		m.run(buildCommand)
		return gains(m.begun())
	})
	attack(t, "the same by a dkms.conf under lint", func(m *machine) string {
		m.pack("", `"${BASH_SOURCE%/*}"/caller >&2`, "echo begun >&2")
		m.tool("caller", caller)
		said := m.run("/dkms lint /usr/src/evil-1.0")
		if !strings.Contains(said, "begun") {
			t.Fatalf("the attack has not begun:\n%s", said)
		}
		if strings.Contains(said, "got ") {
			return said
		}
		return ""
	})
}

// old runs a program as on a kernel before Linux 5.12, or in a container that
// does not know the calls of later ones.
const old = `#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#define REFUSE(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)
int main(int argc, char **argv) {
	struct sock_filter list[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(442), REFUSE(428), REFUSE(429), REFUSE(430), REFUSE(436), REFUSE(444),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof list / sizeof *list, list };
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) return 9;
	execv(argv[1], argv + 1);
	return 8;
}
`

// outside tries to write wherever a build may not, and to read what root alone
// may read.
const outside = `echo begun
got() { "$@" 2>/dev/null && echo "got to $*"; }
[ $(id -u) != 0 ] || echo "got to be root"
for d in / /etc /usr/src /usr/src/linux-headers-6.9.1-fake /srv/open /srv/mounted /var/lib/dkms /var/lib/dkms/evil /home /run /dev; do got touch $d/x; done
got cat /etc/shadow; got ls /root; got kill -0 $OUTSIDE
got mount -t tmpfs x /mnt; got mount -o remount,rw /
ls /proc | grep -q "^$OUTSIDE\$" && echo "got to see other processes"
[ "$(cat /proc/net/dev | grep -c :)" = 1 ] || echo "got the network"
got head -c 1 /dev/mem; got sh -c 'echo x >/proc/sys/kernel/core_pattern'
true`

// besieged is a command of the machine with a process of root's beside it, and
// directories that everybody may write to, one of them a mount point. Another
// mount is covered.
func besieged(command string) string {
	return "mkdir -pm777 /srv/open /srv/mounted /srv/over/under; mount -t tmpfs -o mode=777 x /srv/mounted; mount -t tmpfs x /srv/over/under; mount -t tmpfs x /srv/over; sleep 1000 & export OUTSIDE=$!; " + command + "; kill $OUTSIDE"
}

func TestOutside(t *testing.T) {
	attack(t, "a build writes and reads outside", func(m *machine) string {
		m.pack(outside)
		m.run(besieged(buildCommand))
		return gains(m.begun())
	})
	attack(t, "the same where the root is no mount point", func(m *machine) string {
		m.mounted = false
		m.pack(outside)
		m.run(besieged(buildCommand))
		return gains(m.begun())
	})
	attack(t, "the same before Linux 5.12", func(m *machine) string {
		m.pack(outside)
		m.tool("old", old)
		m.run(besieged("/usr/src/evil-1.0/old " + buildCommand))
		return gains(m.begun())
	})
	attack(t, "the package switches its isolation off", func(m *machine) string {
		m.pack(outside, "BUILD_SANDBOX=no")
		m.run(besieged(buildCommand))
		return gains(m.begun())
	})
}
