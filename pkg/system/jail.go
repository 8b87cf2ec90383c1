package system

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Jail confines a program by system calls alone, see namespaces(7). The program
// runs as its own user, without capabilities and with no way to gain any, in
// its own session and with its own session keyring. It sees no other processes
// and no network, and the whole file system is read-only except for the
// directories listed here. Landlock and seccomp are a second line of defence if
// the kernel has them. Only root can put a program into a jail.
type Jail struct {
	// UID is the user and group of the program; it is never 0.
	UID int
	// Writable are directories that the program may write to. /tmp, /var/tmp,
	// /dev/shm and /run/lock are empty and read-only unless they are listed.
	Writable []Mount
	// Show are directories that must be visible, wherever they are: others
	// below /tmp, /var/tmp and /run are not visible.
	Show []string
	// Added are directories, and files in such directories, that appear, read-only,
	// at paths where this system may have nothing. What else is beside such a path
	// stays visible.
	Added []Mount
	// Lend is a subset of Show. Files of root there appear to belong to the
	// program's user, who can therefore read them, but not write to them. This
	// requires id-mapped mounts, see mount_setattr(2).
	Lend []string
	// Hide are files that appear empty, unless Added covers them.
	Hide []string
	// Network gives the program access to the network.
	Network bool
	// Sockets gives the program access to Unix sockets, including those of
	// other programs.
	Sockets bool
	// Limits are the resource limits of the program.
	Limits Limits
}

// Limits are resource limits of a program; 0 is no limit.
type Limits struct {
	// FileSize is the size of a file in MiB.
	FileSize int
	// Processes is the number of processes and threads of the jail's user.
	Processes int
}

// BuildUser is the n-th of sixteen users that no account, no container and no
// other process uses: systemd leaves their numbers unused
// (systemd.io/UIDS-GIDS), and the numbers depend on the ID of this process.
// Programs of one such user cannot even see the programs of another.
func BuildUser(n int) int { return firstBuildUser + os.Getpid()<<4 + n }

// IsBuildUser tells whether a user is a [BuildUser] of any process.
func IsBuildUser(uid int) bool { return uid >= firstBuildUser && uid < firstBuildUser+1<<26+16 } // PID_MAX_LIMIT is 1<<22

const firstBuildUser = 0x70000000

// Mount mounts the directory From at another path.
type Mount struct {
	From, At string
	// Lent says that files of root in From appear to belong to the program's
	// user, as for [Jail].Lend.
	Lent bool
}

// JailError says that no jail can be made on this machine; the program was not
// started.
type JailError struct {
	// Step is the step that failed.
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

// Unwrap returns the underlying error for [errors.Is] and [errors.As].
func (e *JailError) Unwrap() error { return e.Err }

// attributes sets the attributes of a program that the thread in the jail
// starts. The program gets another session than the caller's, so that it cannot
// open the caller's terminal.
func (j *Jail) attributes(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWPID | unix.CLONE_NEWIPC
	if !j.Network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	attr.Setsid, attr.Setpgid = true, false
	attr.Credential = &syscall.Credential{Uid: uint32(j.UID), Gid: uint32(j.UID)}
	attr.Pdeathsig = syscall.SIGKILL
}

// enter puts the calling thread into the jail, in which the programs are those of
// tools. The thread must not be used for anything else afterwards.
func (j *Jail) enter(tools *Tools) error {
	if j.UID == 0 {
		return &JailError{"a user of its own", unix.EINVAL}
	}
	if err := tools.enter(); err != nil {
		return &JailError{"the root directory of the programs", err}
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

// MissingWalls names features that would make jails stronger and that the
// running kernel lacks.
func MissingWalls() (list []string) {
	if landlockVersion() == 0 {
		list = append(list, "Landlock")
	}
	if !haveSeccomp() {
		list = append(list, "seccomp")
	}
	return list
}

// ownKeyring gives the thread a new session keyring. Kernels without keyrings,
// and containers that forbid them, have no keys to protect.
func ownKeyring() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0) // the keyring has no name
	if err == nil || err == unix.ENOSYS || err == unix.EPERM || err == unix.EACCES {
		return nil
	}
	return &JailError{"a session keyring", err}
}

// dropPrivileges prevents programs of the thread from ever having a capability.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &JailError{"no new privileges", err}
	}
	for c := uintptr(0); c <= 63; c++ { // EINVAL marks the first number that the kernel does not know
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return &JailError{"dropping capabilities", err}
		}
	}
	return nil
}

// idle gives the calling thread, and the programs it starts, only the processor
// and disk time that nobody else wants, see ioprio_set(2).
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
