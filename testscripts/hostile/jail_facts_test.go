package hostile

import (
	"strings"
	"testing"
)

// fact checks what is not an attack: what a build may do, and what nobody is
// kept from. do returns what is not as it should be.
func fact(t *testing.T, name string, do func(m *machine) (wrong string)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		m := newMachine(t)
		if wrong := do(m); wrong != "" {
			t.Errorf("%s\n%s", wrong, m.said.String())
		}
	})
}

// may ends a build that may not do something.
const may = `may() { "$@" || { echo "may not: $*"; exit 1; }; }
`

func TestFacts(t *testing.T) {
	fact(t, "a build has what it may have", func(m *machine) string {
		m.pack(may+`echo begun
			for d in . /tmp /var/tmp /dev/shm /run/lock; do may touch $d/x; done
			may [ "$(ls /tmp /run/lock)" = $'/run/lock:\nx\n\n/tmp:\nx' ]; may [ -z "$(ls /run | grep -v lock)" ]
			may grep -q root /etc/passwd; may [ -z "${TMPDIR+set}" ]; may [ $HOME = /tmp ]; may [ -z "$(cat)" ]; may sh -c 'echo to standard error >/dev/stderr'
			may [ -p /proc/self/fd/1 ]; may sh -c 'exec 2>/dev/null; ! true </dev/tty'
			may [ "$(mktemp -t -p "$PWD" x.XXX | sed 's,/[^/]*$,,')" = "$PWD" ]
			may bash -c 'cat <(echo y)'; may timeout 5 sleep 0; may ln x y; may mkfifo z; may mv x /tmp/y`, "POST_BUILD=post.sh")
		m.write("/usr/src/evil-1.0/post.sh", "#!/bin/sh\necho x >../$kernelver/$arch/added\n", 0o755)
		m.run("export TMPDIR=/root; " + buildCommand)
		if log := m.begun(); strings.Contains(log, "may not") || !strings.Contains(log, "to standard error") {
			return log
		}
		if m.read("/var/lib/dkms/evil/1.0/"+kernelRelease+"/x86_64/added") != "x\n" {
			return "POST_BUILD could not add to the build"
		}
		return ""
	})
	fact(t, "a build is allowed network and sockets", func(m *machine) string {
		m.write("/etc/dkms/framework.conf", `build_sandbox_allow="network sockets"`+"\n", 0o644)
		m.pack(may + "echo begun; may [ $(grep -c : /proc/net/dev) -gt 1 ]; may ./peer connect /srv/socket/s; may grep -q nameserver /etc/resolv.conf")
		m.tool("peer", peer)
		m.run(`mkdir -p /srv/socket /run/resolved; echo nameserver 127.0.0.1 >/run/resolved/conf; ln -s /run/resolved/conf /etc/resolv.conf
			/usr/src/evil-1.0/peer listen /srv/socket/s & until [ -S /srv/socket/s ]; do sleep 0.05; done
			` + buildCommand + "; kill $!")
		if log := m.begun(); strings.Contains(log, "may not") {
			return log
		}
		return ""
	})
	fact(t, "scripts of an installation are root's", func(m *machine) string {
		m.pack("", "POST_INSTALL=post.sh")
		m.write("/usr/src/evil-1.0/post.sh", "#!/bin/sh\nid -u >/srv/user\n", 0o755)
		m.run("mkdir -p /srv; /dkms install evil/1.0 -k " + kernelRelease)
		if m.read("/srv/user") != "0\n" {
			return "POST_INSTALL is not root's"
		}
		return ""
	})
	fact(t, "the admin switches the isolation of a module off", func(m *machine) string {
		m.pack("echo begun; id -u")
		m.write("/etc/dkms/evil.conf", "BUILD_SANDBOX=no\n", 0o644)
		m.run(buildCommand)
		if !strings.Contains(m.begun(), "begun\n0\n") {
			return "the build is not root's"
		}
		return ""
	})
	fact(t, "what isolation lacks is said", func(m *machine) string {
		m.pack("echo begun; id -u")
		without := "setpriv --bounding-set -sys_admin --inh-caps -sys_admin "
		said := m.run(without + buildCommand)
		if !strings.Contains(said, "builds are not isolated from this system: a mount namespace: operation not permitted (CAP_SYS_ADMIN is missing") {
			return said
		}
		m.write("/etc/dkms/framework.conf", "build_sandbox=require\n", 0o644)
		if said := m.run(without + buildCommand + " --force"); strings.Contains(said, ": built") {
			return said
		}
		return ""
	})
	fact(t, "a denied socket is named with the line that allows it", func(m *machine) string {
		m.pack(may + "echo begun; ./peer connect /srv/s || { echo 'socket: Operation not permitted'; exit 3; }")
		m.tool("peer", peer)
		said := m.run(buildCommand)
		if !strings.Contains(said, "builds have no Unix sockets: build_sandbox_allow=sockets in /etc/dkms/framework.conf") {
			return said
		}
		return ""
	})
	fact(t, "the limit that ended a build is named", func(m *machine) string {
		m.write("/etc/dkms/framework.conf", "build_file_limit=1\n", 0o644)
		m.pack("echo begun; head -c 3M /dev/zero >huge")
		m.run("/dkms add evil/1.0; /dkms autoinstall -k " + kernelRelease)
		said := m.run(buildCommand)
		if !strings.Contains(said, "it took more than a build may") || !strings.Contains(said, "build_file_limit") {
			return said
		}
		m.write("/etc/dkms/framework.conf", "build_file_limit=8\n", 0o644)
		if said := m.run("/dkms autoinstall -k " + kernelRelease); !strings.Contains(said, "evil/1.0: installed") {
			return "a larger limit does not have the build tried again: " + said
		}
		return ""
	})
}
