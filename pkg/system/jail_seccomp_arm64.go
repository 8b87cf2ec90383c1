package system

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_AARCH64
	socketcall = 0
)

// foreign are the calls of other programs that this machine may run: 32-bit
// ones.
var foreign = []calls{{
	arch: unix.AUDIT_ARCH_ARM,
	denied: []uint32{
		309, 310, 311, // add_key, request_key, keyctl
		21, 22, 52, 218, 429, 428, 467, 430, 431, 432, 433, 442, // mount, umount, umount2, pivot_root and the newer ones
		26, 376, 377, 438, 378, // ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, kcmp
		386, 364, 388, 425, // bpf, perf_event_open, userfaultfd, io_uring_setup
		128, 379, 129, // init_module, finit_module, delete_module
	},
	clone: 120, clone3: 435, unshare: 337, ioctl: 54, socket: 281, socketpair: 288, socketcall: 102,
}}
