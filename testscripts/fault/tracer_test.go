//go:build linux && amd64

package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracing says whether programs can be traced here.
const tracing = true

// trace runs a program under an injection
// and everything that it leaves running to its end, and writes how it fared to
// standard input, of all things: the other descriptors are the program's.
func trace(inj injection, argv []string) error {
	// All requests for a traced thread have to come from the thread that
	// traces it. What the program leaves running becomes a child of this
	// process, and is waited for.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{null.Fd(), 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return err
	}
	tr := &tracer{pid: pid, inj: inj, failing: map[int]*bool{}}
	if err := tr.run(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdin).Encode(tr.result)
}

type tracer struct {
	pid int
	inj injection
	// failing holds the known threads; true while a call of theirs is to fail.
	failing map[int]*bool
	result  traced
}

func (tr *tracer) run() error {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(tr.pid, &ws, unix.WALL, nil); err != nil || !ws.Stopped() {
		return fmt.Errorf("the program did not start: %v, %w", ws, err)
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(tr.pid, options); err != nil {
		return err
	}
	tr.failing[tr.pid] = new(bool)
	unix.PtraceSyscall(tr.pid, 0)
	for {
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD:
			return nil
		case err != nil:
			return err
		case tid == tr.pid && (ws.Exited() || ws.Signaled()):
			tr.result.Status = ws
		case ws.Stopped():
			// A thread that is being killed answers no request any more.
			unix.PtraceSyscall(tid, int(tr.stopped(tid, ws)))
		}
	}
}

// stopped deals with one stop of a thread and returns the signal to pass on.
func (tr *tracer) stopped(tid int, ws unix.WaitStatus) syscall.Signal {
	failing, known := tr.failing[tid]
	if !known {
		failing = new(bool)
		tr.failing[tid] = failing
	}
	sig := ws.StopSignal()
	switch {
	case sig == unix.SIGTRAP|0x80:
		tr.call(tid, failing)
		return 0
	case sig == unix.SIGTRAP, sig == unix.SIGSTOP && !known:
		return 0
	}
	return sig
}

// callInfo is struct ptrace_syscall_info of ptrace(2).
type callInfo struct {
	Op   uint8
	_    [3]uint8
	Arch uint32
	_    [2]uint64
	Nr   uint64
	Args [6]uint64
	_    uint64
}

const (
	ptraceGetSyscallInfo = 0x420e
	callEntry, callExit  = 1, 2
)

func (tr *tracer) call(tid int, failing *bool) {
	var info callInfo
	_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	switch {
	case errno != 0:
	case info.Op == callExit && *failing:
		*failing = false
		tr.setRegisters(tid, func(r *unix.PtraceRegs) { r.Rax = uint64(-int64(tr.inj.Errno)) })
	case info.Op == callEntry:
		what, changes := tr.changes(tid, &info)
		if !changes {
			return
		}
		tr.result.Points++
		if tr.result.Points != tr.inj.At {
			return
		}
		tr.result.Hit = what
		if tr.inj.Errno == 0 {
			unix.Kill(tr.pid, unix.SIGKILL)
			return
		}
		*failing = true
		tr.setRegisters(tid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) })
	}
}

func (tr *tracer) setRegisters(tid int, change func(*unix.PtraceRegs)) {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &regs) != nil {
		return // it is being killed
	}
	change(&regs)
	unix.PtraceSetRegs(tid, &regs)
}

// argument is where a system call has what it changes.
type argument int

const (
	descriptor argument = iota // of an open file, as the first argument
	third                      // the same, as the third
	path                       // a path, as the first argument
	path2                      // a path, as the second
	at                         // a directory and a path
	at3                        // a directory and a path, as the third and fourth
	linkTo                     // a directory and a path behind a text
)

// changing are the calls that change a file system. Opening a file is among
// them if it is to be written.
var changing = map[uint64]struct {
	name string
	arg  argument
}{
	unix.SYS_OPEN: {"open", path}, unix.SYS_CREAT: {"creat", path}, unix.SYS_OPENAT: {"openat", at}, unix.SYS_OPENAT2: {"openat2", at},
	unix.SYS_WRITE: {"write", descriptor}, unix.SYS_PWRITE64: {"pwrite", descriptor}, unix.SYS_WRITEV: {"writev", descriptor},
	unix.SYS_SENDFILE: {"sendfile", descriptor}, unix.SYS_COPY_FILE_RANGE: {"copy_file_range", third}, unix.SYS_SPLICE: {"splice", third},
	unix.SYS_FTRUNCATE: {"ftruncate", descriptor}, unix.SYS_FALLOCATE: {"fallocate", descriptor}, unix.SYS_TRUNCATE: {"truncate", path},
	unix.SYS_FSYNC: {"fsync", descriptor}, unix.SYS_FDATASYNC: {"fdatasync", descriptor}, unix.SYS_IOCTL: {"ioctl", descriptor},
	unix.SYS_RENAME: {"rename", path2}, unix.SYS_RENAMEAT: {"renameat", at3}, unix.SYS_RENAMEAT2: {"renameat2", at3},
	unix.SYS_LINK: {"link", path2}, unix.SYS_LINKAT: {"linkat", at3}, unix.SYS_SYMLINK: {"symlink", path2}, unix.SYS_SYMLINKAT: {"symlinkat", linkTo},
	unix.SYS_UNLINK: {"unlink", path}, unix.SYS_UNLINKAT: {"unlinkat", at}, unix.SYS_RMDIR: {"rmdir", path},
	unix.SYS_MKDIR: {"mkdir", path}, unix.SYS_MKDIRAT: {"mkdirat", at}, unix.SYS_MKNODAT: {"mknodat", at},
	unix.SYS_CHMOD: {"chmod", path}, unix.SYS_FCHMOD: {"fchmod", descriptor}, unix.SYS_FCHMODAT: {"fchmodat", at}, unix.SYS_FCHMODAT2: {"fchmodat2", at},
	unix.SYS_CHOWN: {"chown", path}, unix.SYS_LCHOWN: {"lchown", path}, unix.SYS_FCHOWN: {"fchown", descriptor}, unix.SYS_FCHOWNAT: {"fchownat", at},
	unix.SYS_UTIMENSAT: {"utimensat", at},
}

// changes tells whether a call changes something below the directory, and
// which.
func (tr *tracer) changes(tid int, info *callInfo) (string, bool) {
	c, ok := changing[info.Nr]
	if !ok || !opensForWriting(info) {
		return "", false
	}
	file := ""
	switch c.arg {
	case descriptor:
		file = descriptorPath(tid, info.Args[0])
	case third:
		file = descriptorPath(tid, info.Args[2])
	case path:
		file = readString(tid, info.Args[0])
	case path2:
		file = readString(tid, info.Args[1])
	case at:
		file = atPath(tid, info.Args[0], info.Args[1])
	case at3:
		file = atPath(tid, info.Args[2], info.Args[3])
	case linkTo:
		file = atPath(tid, info.Args[1], info.Args[2])
	}
	rest, inside := strings.CutPrefix(file, tr.inj.Below+"/")
	return c.name + " " + rest, inside
}

func opensForWriting(info *callInfo) bool {
	const writing = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC
	switch info.Nr {
	case unix.SYS_OPEN:
		return info.Args[1]&writing != 0
	case unix.SYS_OPENAT:
		return info.Args[2]&writing != 0
	}
	return true
}

func descriptorPath(tid int, fd uint64) string {
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd)))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(file, " (deleted)")
}

func atPath(tid int, dir, name uint64) string {
	file := readString(tid, name)
	if filepath.IsAbs(file) || int32(dir) == unix.AT_FDCWD {
		return file
	}
	return filepath.Join(descriptorPath(tid, dir), file)
}

func readString(tid int, address uint64) string {
	buf := make([]byte, 4096)
	n := 0
	for n < len(buf) { // page by page: the next one may not be there
		size := min(len(buf)-n, int(4096-(address+uint64(n))%4096))
		local := []unix.Iovec{{Base: &buf[n], Len: uint64(size)}}
		got, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(address) + uintptr(n), Len: size}}, 0)
		if err != nil || got <= 0 {
			break
		}
		if end := bytes.IndexByte(buf[n:n+got], 0); end >= 0 {
			return string(buf[:n+end])
		}
		n += got
	}
	return ""
}
