package hostile

import (
	"strings"
	"testing"
)

// typist opens the terminal of whoever runs dkms and types for them.
const typist = `#include <fcntl.h>
#include <stdio.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>
static void type(int fd) {
	for (const char *c = "echo typed by the build\n"; *c; c++)
		ioctl(fd, TIOCSTI, c);
	if (tcsetpgrp(fd, getpgrp()) == 0)
		dprintf(fd, "Password: ");
}
int main(void) {
	signal(SIGTTOU, SIG_IGN);
	int fd = open("/dev/tty", O_RDWR);
	for (int i = 0; i < 3; i++) type(i);
	if (fd >= 0) { dprintf(fd, "false prompt\n"); type(fd); }
	return 0;
}
`

// onTerminal runs a command of the machine on a real terminal, and then reads
// a line from it as a shell would.
func (m *machine) onTerminal(command string) string {
	m.write("/terminal.sh", command+"\nif read -t 1 line; then echo \"read: $line\"; fi\n", 0o755)
	return m.run("script -qec 'bash /terminal.sh' /dev/null </dev/null")
}

func typedOn(screen string) string {
	for _, sign := range []string{"typed by the build", "false prompt", "Password: "} {
		if strings.Contains(screen, sign) {
			return "the terminal: " + sign
		}
	}
	return ""
}

func TestTerminal(t *testing.T) {
	attack(t, "a build types on root's terminal", func(m *machine) string {
		m.pack("echo begun; ./typist")
		m.tool("typist", typist)
		screen := m.onTerminal(buildCommand)
		m.begun()
		return typedOn(screen)
	})
	attack(t, "a dkms.conf types on root's terminal under lint", func(m *machine) string {
		m.pack("", `X=$("${BASH_SOURCE%/*}"/typist)`, `echo begun >&2`)
		m.tool("typist", typist)
		screen := m.onTerminal("/dkms lint /usr/src/evil-1.0")
		if !strings.Contains(screen, "begun") {
			t.Fatalf("the attack has not begun:\n%s", screen)
		}
		return typedOn(screen)
	})
}

// The caller's descriptors 3, 7 and 9: a file that only root may append to, one
// that only root may read, and a directory that only root may enter.
func TestDescriptors(t *testing.T) {
	attack(t, "a build uses the caller's descriptors", func(m *machine) string {
		m.write("/root/appended", "", 0o600)
		m.write("/root/secret", "secret of root\n", 0o600)
		m.pack(`echo begun
			for fd in 3 7 9; do echo "by the build" >&$fd; cat <&$fd; cat /proc/self/fd/$fd/secret; done
			true`)
		m.run("exec 3>>/root/appended 7</root/secret 9</root; " + buildCommand)
		if strings.Contains(m.begun(), "secret of root") {
			return "what only root may read"
		}
		return m.read("/root/appended")
	})
}
