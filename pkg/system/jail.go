package system

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Jail confines a program by system calls alone, see namespaces(7): it runs
// as a user of its own, without capabilities and with no way to gain any, sees
// no other processes and no network, and finds the whole file system
// read-only but for what is named here. Only root can put a program into one.
type Jail struct {
	// UID is the user and group of the program. 0 is root's files without
	// root's capabilities.
	UID int
	// Tmp is the directory that the program finds as /tmp and /var/tmp;
	// without one it finds empty directories there.
	Tmp string
	// Writable are directories that the program may write to.
	Writable []Mount
	// Show are directories that must be seen, wherever they are: others
	// below /tmp, /var/tmp and /run are not.
	Show []string
	// Hide are files that look empty.
	Hide []string
	// Network leaves the program the network.
	Network bool
}

// Stranger is the n-th of sixteen users that no account, no container and no
// other process has: systemd leaves their numbers unused
// (systemd.io/UIDS-GIDS), and the process is part of them. Programs that run
// as one cannot even see what runs as another.
func Stranger(n int) int { return strangers + os.Getpid()<<4 + n }

// IsStranger tells whether a user is one of [Stranger], of whatever process.
func IsStranger(uid int) bool { return uid >= strangers && uid < strangers+1<<26+16 } // PID_MAX_LIMIT is 1<<22

const strangers = 0x70000000

// Mount is the directory From, found at another place.
type Mount struct{ From, At string }

// JailError says that no jail can be made here; the program was not started.
type JailError struct {
	// Step is what was tried.
	Step string
	Err  error
}

func (e *JailError) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap gives the underlying error to [errors.Is] and [errors.As].
func (e *JailError) Unwrap() error { return e.Err }

// devices are what programs may count on in /dev; the others are dead.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}

// private are the directories that everybody writes to, or that hold the
// sockets of other programs.
var private = []string{"/tmp", "/var/tmp", "/run"}

// attributes is what makes a program started by the thread that has entered
// the jail the jail's.
func (j *Jail) attributes(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= unix.CLONE_NEWPID | unix.CLONE_NEWIPC
	if !j.Network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	attr.Credential = &syscall.Credential{Uid: uint32(j.UID), Gid: uint32(j.UID)}
	attr.Pdeathsig = syscall.SIGKILL
}

// enter puts the calling thread, which is good for nothing else afterwards,
// where the program is to be.
func (j *Jail) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return &JailError{"a mount namespace", err}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &JailError{"mounts of its own, which a chroot does not have", err}
	}
	plan, err := j.layout()
	if err != nil {
		return err
	}
	defer plan.close()
	sealed := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, sealed); err != nil {
		return &JailError{"a read-only root", err} // before Linux 5.12
	}
	if err := plan.mount(); err != nil {
		return err
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", flags, "hidepid=2"); err != nil {
		return &JailError{"a /proc of its own", err}
	}
	return dropPrivileges()
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

// placing is one mount to be made: the tree fd, or an empty directory where
// there is none.
type placing struct {
	fd int
	at string
}

// layout is what is mounted in the jail, in order.
type layout []placing

func (l *layout) close() {
	for _, p := range *l {
		if p.fd >= 0 {
			unix.Close(p.fd)
		}
	}
}

// mount makes the mounts. Places that are missing are made; that is possible
// only in directories that were mounted before.
func (l layout) mount() error {
	for _, p := range l {
		if _, err := os.Lstat(p.at); err != nil {
			if err := os.MkdirAll(p.at, 0o755); err != nil {
				return &JailError{"mounting " + p.at, err}
			}
		}
		var err error
		if p.fd < 0 {
			err = unix.Mount("tmpfs", p.at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
		} else {
			err = unix.MoveMount(p.fd, "", unix.AT_FDCWD, p.at, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		if err != nil {
			return &JailError{"mounting " + p.at, err}
		}
	}
	return nil
}

// take adds the tree at from, as it is now, to be mounted at another place.
func (l *layout) take(from, at string, attr unix.MountAttr) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return &JailError{"taking " + from, err}
	}
	*l = append(*l, placing{fd, at})
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return &JailError{"taking " + from, err}
	}
	return nil
}

// layout takes what the jail needs, before everything is sealed.
func (j *Jail) layout() (l *layout, err error) {
	l = &layout{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	writable := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	sealed := unix.MountAttr{Attr_set: writable.Attr_set | unix.MOUNT_ATTR_RDONLY}
	for _, p := range j.places() {
		switch {
		case p.From == "":
			*l = append(*l, placing{-1, p.At})
		case p.From == j.Tmp:
			err = l.take(p.From, p.At, writable)
		default:
			err = l.take(p.From, p.At, sealed)
		}
		if err != nil {
			return l, err
		}
	}
	for _, m := range j.Writable {
		if err := l.take(m.From, resolve(m.At), writable); err != nil {
			return l, err
		}
	}
	device := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}
	for _, dev := range devices {
		if _, err := os.Lstat(dev); err != nil {
			continue
		}
		if err := l.take(dev, dev, device); err != nil {
			return l, err
		}
	}
	for _, file := range j.Hide {
		if !IsFile(file) {
			continue
		}
		if err := l.take("/dev/null", resolve(file), device); err != nil {
			return l, err
		}
	}
	return l, nil
}

// places lists the directories that the jail has its own of, parents first,
// and those below them that are to be seen all the same; nothing is at From
// where it is to be empty. Besides the private ones these are the directories
// that keep the jail's user from a place that it needs.
func (j *Jail) places() []Mount {
	from := map[string]string{}
	for _, dir := range private {
		if real := resolve(dir); IsDir(real) {
			from[real] = ""
			if dir != "/run" {
				from[real] = j.Tmp
			}
		}
	}
	own := slices.Collect(maps.Keys(from))
	needed := slices.Clone(j.Show)
	for _, m := range j.Writable {
		needed = append(needed, m.At)
	}
	for _, dir := range needed {
		j.uncover(resolve(dir), own, from)
	}
	var list []Mount
	for _, at := range slices.Sorted(maps.Keys(from)) {
		list = append(list, Mount{from[at], at})
	}
	return list
}

// uncover adds what makes dir visible: in a private directory what lies beside
// dir comes with it; in a directory that the jail's user may not enter, dir
// does alone.
func (j *Jail) uncover(dir string, own []string, from map[string]string) {
	beside := false // above is in a private directory
	for above := range parents(dir) {
		if slices.Contains(own, above) {
			beside = true
			continue
		}
		if st, err := os.Stat(above); err == nil && !j.mayPass(st) {
			if _, ok := from[above]; !ok {
				from[above] = ""
			}
			from[dir] = dir
			return
		}
		if beside {
			beside = false
			from[above] = above
		}
	}
	if beside {
		from[dir] = dir
	}
}

func (j *Jail) mayPass(st os.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if ok && int(sys.Uid) == j.UID {
		return st.Mode()&0o100 != 0
	}
	return st.Mode()&0o001 != 0
}

// parents yields the directories above path, the root's children first.
func parents(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := 1; i < len(path); i++ {
			if path[i] == '/' && !yield(path[:i]) {
				return
			}
		}
	}
}

// resolve is path without links, as far as it exists.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
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
