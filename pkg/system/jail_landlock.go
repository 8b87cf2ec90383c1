package system

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	landlockRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockFile  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	landlockNodes = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
)

// landlockRights are the rights that each version of Landlock adds to the
// version before it, see landlock(7).
var landlockRights = []unix.LandlockRulesetAttr{
	{Handled_access_fs: 1<<13 - 1},
	{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_REFER},
	{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_TRUNCATE},
	{}, // the network namespace does this, and programs understand its errors better
	{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
	{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL},
	{}, {},
	{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX},
}

// landlockVersion is the version of the kernel's Landlock. It is 0 if the
// kernel has none, or has version 1, which permits no moves between
// directories.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || v == 1 {
		return 0
	}
	return int(v)
}

// landlock makes the kernel refuse the calling thread, and the programs it
// starts, everything that the mounts refuse. It also refuses what mounts
// cannot: pipes and devices of others, abstract sockets, and signals to
// processes outside. A library for Landlock would apply it to all threads of
// the process.
func (j *Jail) landlock() error {
	version := landlockVersion()
	if version == 0 {
		return nil
	}
	if err := j.restrict(j.landlockRules(version)); err != nil {
		return &JailError{"Landlock", err}
	}
	return nil
}

func (j *Jail) landlockRules(version int) *unix.LandlockRulesetAttr {
	rules := &unix.LandlockRulesetAttr{}
	for _, more := range landlockRights[:min(version, len(landlockRights))] {
		rules.Handled_access_fs |= more.Handled_access_fs
		rules.Scoped |= more.Scoped
	}
	if j.Sockets {
		rules.Scoped &^= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		rules.Handled_access_fs &^= unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	}
	return rules
}

func (j *Jail) restrict(rules *unix.LandlockRulesetAttr) error {
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(rules)), unsafe.Sizeof(*rules), 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(ruleset))
	allow := func(path string, rights uint64) error {
		return landlockAllow(int(ruleset), path, rights&rules.Handled_access_fs)
	}
	err := allow("/", landlockRead)
	for _, m := range j.writable() {
		err = errors.Join(err, allow(resolve(m.At), rules.Handled_access_fs&^landlockNodes))
	}
	for _, dev := range devices {
		if e := allow(dev, landlockFile); e != nil && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// landlockAllow permits rights below a path.
func landlockAllow(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
