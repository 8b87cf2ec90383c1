package system

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Jail confines a program by system calls alone, see namespaces(7): the
// program runs as a user of its own, without capabilities and with no way to
// gain any, in a session and with a session keyring of its own. It sees no
// other processes and no network, and finds the whole file system read-only
// but for what is named here. Landlock and seccomp are a second wall where the
// kernel has them. Only root can put a program into a jail.
type Jail struct {
	// UID is the user and group of the program, and never 0.
	UID int
	// Writable are directories that the program may write to. /tmp, /var/tmp,
	// /dev/shm and /run/lock are empty and read-only unless they are among
	// them.
	Writable []Mount
	// Show are directories that must be seen, wherever they are: others
	// below /tmp, /var/tmp and /run are not.
	Show []string
	// Lend are among Show. What root owns there belongs to the program's user,
	// who can read it, therefore, and not write to it. This takes id-mapped
	// mounts, see mount_setattr(2).
	Lend []string
	// Hide are files that look empty.
	Hide []string
	// Network leaves the program the network.
	Network bool
	// Sockets leaves the program Unix sockets, those of other programs too.
	Sockets bool
	// Limits bound what the program may take.
	Limits Limits
}

// Limits are bounds for a program; 0 is none.
type Limits struct {
	// FileSize is the size of a file in MiB.
	FileSize int
	// Processes is the number of processes and threads of the jail's user.
	Processes int
}

// BuildUser is the n-th of sixteen users that no account, no container and no
// other process has: systemd leaves their numbers unused
// (systemd.io/UIDS-GIDS), and the number of this process is part of them.
// Programs of one such user cannot even see the programs of another.
func BuildUser(n int) int { return firstBuildUser + os.Getpid()<<4 + n }

// IsBuildUser tells whether a user is one of [BuildUser], of whatever process.
func IsBuildUser(uid int) bool { return uid >= firstBuildUser && uid < firstBuildUser+1<<26+16 } // PID_MAX_LIMIT is 1<<22

const firstBuildUser = 0x70000000

// Mount is the directory From, found at another place.
type Mount struct {
	From, At string
	// Lent says that what root owns there belongs to the program's user, as
	// for [Jail].Lend.
	Lent bool
}

// JailError says that no jail can be made here; the program was not started.
type JailError struct {
	// Step is what was tried.
	Step string
	Err  error
}

func (e *JailError) Error() string {
	text := e.Step + ": " + e.Err.Error()
	if e.Err == unix.EPERM {
		text += " (CAP_SYS_ADMIN is missing, or the container forbids it)"
	}
	return text
}

// Unwrap gives the underlying error to [errors.Is] and [errors.As].
func (e *JailError) Unwrap() error { return e.Err }

// attributes is what makes a program started by the thread that has entered
// the jail the jail's. A program without the caller's session cannot open the
// caller's terminal.
func (j *Jail) attributes(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWPID | unix.CLONE_NEWIPC
	if !j.Network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	attr.Setsid, attr.Setpgid = true, false
	attr.Credential = &syscall.Credential{Uid: uint32(j.UID), Gid: uint32(j.UID)}
	attr.Pdeathsig = syscall.SIGKILL
}

// enter puts the calling thread, which is good for nothing else afterwards,
// where the program is to be.
func (j *Jail) enter() error {
	if j.UID == 0 {
		return &JailError{"a user of its own", unix.EINVAL}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return &JailError{"a mount namespace", err}
	}
	if err := ownRoot(); err != nil {
		return err
	}
	if err := j.furnish(); err != nil {
		return err
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", flags, "hidepid=2"); err != nil {
		return &JailError{"a /proc of its own", err}
	}
	if err := ownKeyring(); err != nil {
		return err
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	if err := j.landlock(); err != nil {
		return err
	}
	return j.filter()
}

// MissingWalls names what would make jails stronger and the running kernel does
// not have.
func MissingWalls() (list []string) {
	if landlockVersion() == 0 {
		list = append(list, "Landlock")
	}
	if !haveSeccomp() {
		list = append(list, "seccomp")
	}
	return list
}

// ownKeyring gives the thread a session keyring that nobody else has. Kernels
// without keyrings, and containers that forbid them, have nothing to keep.
func ownKeyring() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0) // one without a name
	if err == nil || err == unix.ENOSYS || err == unix.EPERM || err == unix.EACCES {
		return nil
	}
	return &JailError{"a session keyring", err}
}

// dropPrivileges keeps what the thread starts from ever having a capability.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &JailError{"no new privileges", err}
	}
	for c := uintptr(0); c <= 63; c++ { // EINVAL is the first that the kernel does not know
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return &JailError{"dropping capabilities", err}
		}
	}
	return nil
}

// idle lets the calling thread, and what it starts, have only the time of
// processors and disks that nobody else wants, see ioprio_set(2).
func idle() error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 19); err != nil {
		return fmt.Errorf("setpriority: %w", err)
	}
	const process, idleClass = 1, 3 << 13
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, process, 0, idleClass); errno != 0 {
		return fmt.Errorf("ioprio_set: %w", errno)
	}
	return nil
}
