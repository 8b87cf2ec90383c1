package system

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_I386
	socketcall = unix.SYS_SOCKETCALL
)

// foreign are the calls of other programs that this machine may run: the
// compilers of a 64-bit kernel.
var foreign = []calls{{
	arch: unix.AUDIT_ARCH_X86_64,
	denied: []uint32{
		248, 249, 250, // add_key, request_key, keyctl
		165, 166, 155, 429, 428, 467, 430, 431, 432, 433, 442, // mount, umount2, pivot_root and the newer ones
		101, 310, 311, 438, 312, // ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, kcmp
		321, 298, 323, 425, // bpf, perf_event_open, userfaultfd, io_uring_setup
		175, 313, 176, // init_module, finit_module, delete_module
	},
	clone: 56, clone3: 435, unshare: 272, ioctl: 16, socket: 41, socketpair: 53,
}}
