package system

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_X86_64
	socketcall = 0
)

// foreign are the calls of other programs that this machine runs: 32-bit ones.
var foreign = []calls{i386}

var i386 = calls{
	arch: unix.AUDIT_ARCH_I386,
	denied: []uint32{
		286, 287, 288, // add_key, request_key, keyctl
		21, 22, 52, 217, 429, 428, 467, 430, 431, 432, 433, 442, // mount, umount, umount2, pivot_root and the newer ones
		26, 347, 348, 438, 349, // ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, kcmp
		357, 336, 374, 425, // bpf, perf_event_open, userfaultfd, io_uring_setup
		128, 350, 129, // init_module, finit_module, delete_module
	},
	clone: 120, clone3: 435, unshare: 310, ioctl: 54, socket: 359, socketpair: 360, socketcall: 102,
}
