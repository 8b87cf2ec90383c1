package system

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// numbers are the system calls of an architecture as the kernel's header has
// them.
func numbers(t *testing.T, header string) map[string]uint32 {
	t.Helper()
	cmd := exec.Command("gcc", "-E", "-dM", "-xc", "-")
	cmd.Stdin = strings.NewReader("#include <asm/" + header + ">\n")
	out, err := cmd.Output()
	if err != nil {
		t.Skip("no headers of the C library: ", err)
	}
	list := map[string]uint32{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && strings.HasPrefix(fields[1], "__NR_") {
			if n, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
				list[fields[1][len("__NR_"):]] = uint32(n)
			}
		}
	}
	return list
}

// The numbers of 32-bit programs are those of the kernel, and no call is left
// out that is refused to 64-bit ones.
func TestForeignCalls(t *testing.T) {
	native64, native32 := numbers(t, "unistd_64.h"), numbers(t, "unistd_32.h")
	for name, n := range native64 {
		if !slices.Contains(native().denied, n) || native32[name] == 0 {
			continue
		}
		if !slices.Contains(i386.denied, native32[name]) {
			t.Errorf("%s (%d) is not refused to 32-bit programs", name, native32[name])
		}
	}
	for name, n := range map[string]uint32{
		"clone": i386.clone, "clone3": i386.clone3, "unshare": i386.unshare, "ioctl": i386.ioctl,
		"socket": i386.socket, "socketpair": i386.socketpair, "socketcall": i386.socketcall, "umount": 22,
	} {
		if native32[name] != n {
			t.Errorf("%s is %d; want %d", name, n, native32[name])
		}
	}
	if n := len(native().denied) + 1; len(i386.denied) != n { // umount has no 64-bit form
		t.Errorf("%d calls are refused to 32-bit programs; want %d", len(i386.denied), n)
	}
}

// The filter decides as it should: it is run here as the kernel would.
func TestFilter(t *testing.T) {
	const perm, nosys = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	for _, c := range []struct {
		what    string
		arch    uint32
		call    uint32
		args    [2]uint32
		allowed bool // network and sockets
		want    uint32
	}{
		{"read", auditArch, unix.SYS_READ, [2]uint32{}, false, unix.SECCOMP_RET_ALLOW},
		{"keyctl", auditArch, unix.SYS_KEYCTL, [2]uint32{}, false, perm},
		{"keyctl of 32 bits", unix.AUDIT_ARCH_I386, 288, [2]uint32{}, false, perm},
		{"keyctl of x32", auditArch, 1<<30 | unix.SYS_KEYCTL, [2]uint32{}, false, nosys},
		{"another architecture", unix.AUDIT_ARCH_S390X, 0, [2]uint32{}, false, unix.SECCOMP_RET_KILL_PROCESS},
		{"fork", auditArch, unix.SYS_CLONE, [2]uint32{uint32(unix.SIGCHLD)}, false, unix.SECCOMP_RET_ALLOW},
		{"a user namespace", auditArch, unix.SYS_CLONE, [2]uint32{unix.CLONE_NEWUSER}, false, perm},
		{"clone3", auditArch, unix.SYS_CLONE3, [2]uint32{}, false, nosys},
		{"TIOCSTI", auditArch, unix.SYS_IOCTL, [2]uint32{0, unix.TIOCSTI}, false, perm},
		{"TIOCLINUX", auditArch, unix.SYS_IOCTL, [2]uint32{0, unix.TIOCLINUX}, false, perm},
		{"TCGETS", auditArch, unix.SYS_IOCTL, [2]uint32{0, unix.TCGETS}, false, unix.SECCOMP_RET_ALLOW},
		{"a Unix socket", auditArch, unix.SYS_SOCKET, [2]uint32{unix.AF_UNIX}, false, perm},
		{"a Unix socket that is allowed", auditArch, unix.SYS_SOCKET, [2]uint32{unix.AF_UNIX}, true, unix.SECCOMP_RET_ALLOW},
		{"AF_INET", auditArch, unix.SYS_SOCKET, [2]uint32{unix.AF_INET}, false, unix.SECCOMP_RET_ALLOW},
		{"AF_VSOCK", auditArch, unix.SYS_SOCKET, [2]uint32{unix.AF_VSOCK}, true, perm},
		{"a pair", auditArch, unix.SYS_SOCKETPAIR, [2]uint32{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, false, unix.SECCOMP_RET_ALLOW},
		{"a datagram pair", auditArch, unix.SYS_SOCKETPAIR, [2]uint32{unix.AF_UNIX, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC}, false, perm},
		{"socketcall", unix.AUDIT_ARCH_I386, 102, [2]uint32{1}, false, perm},
		{"socketcall that is allowed", unix.AUDIT_ARCH_I386, 102, [2]uint32{1}, true, unix.SECCOMP_RET_ALLOW},
	} {
		j := &Jail{Sockets: c.allowed, Network: c.allowed}
		if got := interpret(j.program(), c.arch, c.call, c.args); got != c.want {
			t.Errorf("%s: %#x; want %#x", c.what, got, c.want)
		}
	}
}

// interpret runs a filter.
func interpret(program []instruction, arch, call uint32, args [2]uint32) uint32 {
	data := map[uint32]uint32{offsetCall: call, offsetArch: arch, offsetArgs: args[0], offsetArgs + 8: args[1]}
	acc := uint32(0)
	for i := 0; ; i++ {
		in := program[i]
		jump := func(yes bool) {
			if yes {
				i += int(in.Jt)
			} else {
				i += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = data[in.K]
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= in.K)
		case unix.BPF_JMP | unix.BPF_JA:
			i += int(in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		}
	}
}
