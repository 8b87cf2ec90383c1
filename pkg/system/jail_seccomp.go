package system

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls holds the numbers of system calls on one architecture, and its
// AUDIT_ARCH number.
type calls struct {
	arch uint32
	// denied calls are refused with any arguments.
	denied []uint32
	// These calls are refused depending on their arguments; 0 stands for a call
	// that the architecture does not have.
	clone, clone3, unshare, ioctl, socket, socketpair, socketcall uint32
}

// native are the calls of this program's architecture.
func native() calls {
	return calls{
		arch: auditArch,
		denied: []uint32{
			unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
			unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR,
			unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
			unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
			unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
			unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		},
		clone: unix.SYS_CLONE, clone3: unix.SYS_CLONE3, unshare: unix.SYS_UNSHARE, ioctl: unix.SYS_IOCTL,
		socket: unix.SYS_SOCKET, socketpair: unix.SYS_SOCKETPAIR, socketcall: socketcall,
	}
}

// instruction is an instruction of classic BPF. If the instructions for a call
// do not decide, the following instructions do.
type instruction = unix.SockFilter

const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16
)

func load(offset uint32) instruction {
	return instruction{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// loadArg loads the lower half of an argument: for the arguments that are
// checked, the kernel uses only that half.
func loadArg(n uint32) instruction {
	offset := offsetArgs + 8*n
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big endian
		offset += 4
	}
	return load(offset)
}

func and(mask uint32) instruction {
	return instruction{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

// unless skips n instructions if the value differs.
func unless(value uint32, n int) instruction {
	return instruction{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: uint8(n)}
}

// when skips n instructions if the value is equal.
func when(value uint32, n int) instruction {
	return instruction{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: uint8(n)}
}

func answer(what uint32) instruction { return instruction{Code: unix.BPF_RET | unix.BPF_K, K: what} }

func refuse(errno unix.Errno) instruction { return answer(unix.SECCOMP_RET_ERRNO | uint32(errno)) }

// by starts the instructions for one call.
func by(call uint32, then ...instruction) []instruction {
	return append([]instruction{unless(call, len(then))}, then...)
}

// rules are the instructions for the calls of one architecture. They expect the
// number of the call to be loaded.
func (c calls) rules(j *Jail) []instruction {
	allow, perm := answer(unix.SECCOMP_RET_ALLOW), refuse(unix.EPERM)
	// Refuse numbers of the x32 ABI, and invalid ones.
	list := []instruction{{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: 1 << 30, Jf: 1}, refuse(unix.ENOSYS)}
	add := func(call uint32, then ...instruction) {
		if call != 0 {
			list = append(list, by(call, then...)...)
		}
	}
	for _, call := range c.denied {
		add(call, perm)
	}
	flags := uint32(0)
	if runtime.GOARCH == "s390x" { // clone of s390x has the stack first
		flags = 1
	}
	add(c.clone, loadArg(flags), and(unix.CLONE_NEWUSER), when(0, 1), perm, allow)
	add(c.unshare, loadArg(0), and(unix.CLONE_NEWUSER), when(0, 1), perm, allow)
	add(c.clone3, refuse(unix.ENOSYS)) // a filter cannot read its flags; all libraries fall back to clone
	add(c.ioctl, loadArg(1), when(unix.TIOCSTI, 1), unless(unix.TIOCLINUX, 1), perm, allow)
	families := []instruction{loadArg(0), when(unix.AF_INET, 3), when(unix.AF_INET6, 2), when(unix.AF_NETLINK, 1), perm, allow}
	if j.Sockets {
		families = []instruction{loadArg(0), when(unix.AF_UNIX, 4), when(unix.AF_INET, 3), when(unix.AF_INET6, 2), when(unix.AF_NETLINK, 1), perm, allow}
	}
	add(c.socket, families...)
	if !j.Sockets {
		// A datagram socket of a pair can still be connected to another socket.
		add(c.socketpair, loadArg(1), and(0xf), when(unix.SOCK_STREAM, 2), when(unix.SOCK_SEQPACKET, 1), perm, allow)
	}
	// A filter cannot read the arguments of socketcall. On some architectures,
	// socketcall is the only way to the network.
	if !j.Sockets && !(j.Network && c.arch == auditArch) {
		add(c.socketcall, perm)
	}
	return append(list, allow)
}

// program is the whole filter. Programs of architectures that are not listed
// here, such as 32-bit programs on most 64-bit architectures, cannot run at
// all.
func (j *Jail) program() []instruction {
	list := []instruction{load(offsetArch)}
	for _, c := range append([]calls{native()}, foreign...) {
		rules := append([]instruction{load(offsetCall)}, c.rules(j)...)
		// Conditional jumps reach only 255 instructions.
		list = append(list, when(c.arch, 1), instruction{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(rules))})
		list = append(list, rules...)
	}
	return append(list, answer(unix.SECCOMP_RET_KILL_PROCESS))
}

func haveSeccomp() bool { return unix.Prctl(unix.PR_GET_SECCOMP, 0, 0, 0, 0) != unix.EINVAL }

// filter refuses the calling thread, and the programs it starts, the system
// calls that no build needs. On kernels without filters, the mounts and
// namespaces have to suffice.
func (j *Jail) filter() error {
	if !haveSeccomp() {
		return nil
	}
	list := j.program()
	program := unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	// Without this flag, kernels before 5.16 slow down all programs of the
	// thread.
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno == unix.EINVAL { // kernels before 4.17 lack the flag
		_, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	}
	runtime.KeepAlive(list)
	if errno != 0 {
		return &JailError{"a filter of system calls", errno}
	}
	return nil
}
