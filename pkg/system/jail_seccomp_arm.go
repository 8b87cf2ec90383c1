package system

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_ARM
	socketcall = 0
)

// foreign are the calls of other programs that this machine may run: the
// compilers of a 64-bit kernel.
var foreign = []calls{{
	arch: unix.AUDIT_ARCH_AARCH64,
	denied: []uint32{
		217, 218, 219, // add_key, request_key, keyctl
		40, 39, 41, 429, 428, 467, 430, 431, 432, 433, 442, // mount, umount2, pivot_root and the newer ones
		117, 270, 271, 438, 272, // ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, kcmp
		280, 241, 282, 425, // bpf, perf_event_open, userfaultfd, io_uring_setup
		105, 273, 106, // init_module, finit_module, delete_module
	},
	clone: 220, clone3: 435, unshare: 97, ioctl: 29, socket: 198, socketpair: 199,
}}
