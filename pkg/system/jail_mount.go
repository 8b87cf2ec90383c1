package system

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place is one thing that a jail has at a path: the tree that is at from, or an
// empty directory where from is empty.
type place struct {
	from, at string
	fd       int // the tree, once it is taken
	writable bool
	device   bool
	lent     bool
}

// flags are those of the mount. Devices need no MS_RDONLY: a read-only mount
// does not keep anybody from writing to them.
func (p place) flags() uintptr {
	switch {
	case p.device:
		return unix.MS_NOSUID | unix.MS_NOEXEC
	case p.writable:
		return unix.MS_NOSUID | unix.MS_NODEV
	}
	return unix.MS_NOSUID | unix.MS_NODEV | unix.MS_RDONLY
}

// furnish makes the file system of the jail: it takes what the jail needs,
// seals everything and puts the former in its places.
func (j *Jail) furnish() error {
	places := j.places()
	mapping := -1
	if slices.ContainsFunc(places, func(p place) bool { return p.lent }) {
		var err error
		if mapping, err = userMapping(j.UID); err != nil {
			return &JailError{"id-mapped mounts", err}
		}
		defer unix.Close(mapping)
	}
	m := mounter(&recentMounts{mapping: mapping})
	if !haveMountSetattr() {
		m = &oldMounts{}
	}
	defer func() {
		for _, p := range places {
			if p.fd >= 0 {
				unix.Close(p.fd)
			}
		}
	}()
	for i := range places {
		p := &places[i]
		if p.fd = -1; p.from == "" {
			continue
		}
		if err := m.take(p); err != nil {
			return &JailError{"taking " + p.from, err}
		}
	}
	if err := m.seal(); err != nil {
		return &JailError{"a read-only root", err}
	}
	for _, p := range places {
		if err := put(m, p); err != nil {
			return &JailError{"mounting " + p.at, err}
		}
	}
	return nil
}

// put mounts p. Places that are missing are made; that is possible only in
// directories that were mounted before.
func put(m mounter, p place) error {
	if _, err := os.Lstat(p.at); err != nil {
		if err := makePlace(p); err != nil {
			return err
		}
	}
	if p.fd < 0 {
		return unix.Mount("tmpfs", p.at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
	}
	return m.put(p)
}

func makePlace(p place) error {
	var st unix.Stat_t
	if p.fd < 0 || unix.Fstat(p.fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return os.MkdirAll(p.at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(p.at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p.at, nil, 0o644)
}

// mounter makes mounts by the means of a kernel.
type mounter interface {
	// take opens the tree at p.from, as it is now, and puts it into p.fd.
	take(p *place) error
	// seal makes everything that is mounted read-only.
	seal() error
	// put mounts what was taken.
	put(p place) error
}

// haveMountSetattr tells kernels since Linux 5.12, unless a container forbids
// their calls.
func haveMountSetattr() bool {
	return unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}) != unix.ENOSYS &&
		unix.MoveMount(-1, "", -1, "", 0) != unix.ENOSYS
}

// recentMounts are those of Linux 5.12. mapping is the user namespace for what
// is lent.
type recentMounts struct{ mapping int }

func (r *recentMounts) take(p *place) (err error) {
	p.fd, err = unix.OpenTree(unix.AT_FDCWD, p.from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: uint64(p.flags())} // these flags have the values of the MOUNT_ATTR ones
	if p.device {
		attr.Attr_set = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	}
	if err := unix.MountSetattr(p.fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil || !p.lent {
		return err
	}
	lend := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(r.mapping)}
	return unix.MountSetattr(p.fd, "", unix.AT_EMPTY_PATH, &lend)
}

func (*recentMounts) seal() error {
	sealed := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	return unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, sealed)
}

func (*recentMounts) put(p place) error {
	return unix.MoveMount(p.fd, "", unix.AT_FDCWD, p.at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// oldMounts are those of kernels before Linux 5.12, which change the flags of
// one mount at a time and have no mounts without a place.
type oldMounts struct{}

func (*oldMounts) take(p *place) (err error) {
	if p.lent {
		return errors.New("id-mapped mounts need Linux 5.12")
	}
	p.fd, err = unix.Open(p.from, unix.O_PATH|unix.O_CLOEXEC, 0)
	return err
}

func (*oldMounts) seal() error {
	return remountBelow("/", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, 0)
}

func (*oldMounts) put(p place) error {
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", p.fd), p.at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return remountBelow(p.at, p.flags(), unix.MS_RDONLY|unix.MS_NODEV)
}

// mountFlags are the options of mountinfo that a remount would take away.
var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
}

// remountBelow sets flags of the mount at a path and of all below it, and takes
// others away.
func remountBelow(at string, set, clear uintptr) error {
	mounts, err := ownMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.at != at && !strings.HasPrefix(m.at, strings.TrimSuffix(at, "/")+"/") {
			continue
		}
		flags := m.flags&^clear | set
		if err := unix.Mount("", m.at, "", unix.MS_REMOUNT|unix.MS_BIND|flags, ""); err != nil {
			return fmt.Errorf("%s: %w", m.at, err)
		}
	}
	return nil
}

// mounted is one line of mountinfo.
type mounted struct {
	at    string
	flags uintptr
}

// ownMounts are the mounts of the calling thread, see proc_pid_mountinfo(5).
func ownMounts() ([]mounted, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []mounted
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 {
			continue
		}
		m := mounted{at: unescapeMount(fields[4])}
		for option := range strings.SplitSeq(fields[5], ",") {
			m.flags |= mountFlags[option]
		}
		list = append(list, m)
	}
	return list, lines.Err()
}

// unescapeMount resolves the octal numbers that stand for blanks.
func unescapeMount(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if s[0] == '\\' && len(s) >= 4 {
			if c, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// ownRoot keeps what the thread mounts from everybody else. A chroot whose root
// is no mount point cannot be told apart from the file system around it; the
// thread gets a root that is one, at the place of a mount that it has anyway.
func ownRoot() error {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		return nil
	}
	if err == unix.EINVAL {
		err = rebaseRoot()
	}
	if err != nil {
		return &JailError{"mounts of its own", err}
	}
	return nil
}

func rebaseRoot() error {
	mounts, err := ownMounts()
	if err != nil {
		return err
	}
	if len(mounts) == 0 {
		return errors.New("a chroot without any mount, such as /proc")
	}
	at := mounts[0].at
	if err := unix.Mount("", at, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("/", at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Chdir(at); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}
