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

// place is the content of one path in a jail: the tree at from, or an empty
// directory if from is empty.
type place struct {
	from, at string
	link     string // makes the place a link to this instead
	fd       int    // the tree, after take
	writable bool
	device   bool
	lent     bool
}

// flags are the mount flags. Devices need no MS_RDONLY, because a read-only
// mount does not prevent writing to them.
func (p place) flags() uintptr {
	switch {
	case p.device:
		return unix.MS_NOSUID | unix.MS_NOEXEC
	case p.writable:
		return unix.MS_NOSUID | unix.MS_NODEV
	}
	return unix.MS_NOSUID | unix.MS_NODEV | unix.MS_RDONLY
}

// furnish makes the file system of the jail: it opens the trees that the jail
// needs, makes everything read-only, and mounts the trees at their places.
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

// put mounts p. It makes missing mount points, which is possible only in
// directories that were mounted before.
func put(m mounter, p place) error {
	if p.link != "" {
		return os.Symlink(p.link, p.at)
	}
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

// mounter makes mounts with the system calls of a kernel.
type mounter interface {
	// take opens the tree at p.from, as it is now, and puts it into p.fd.
	take(p *place) error
	// seal makes all mounts read-only.
	seal() error
	// put mounts the tree that take opened.
	put(p place) error
}

// haveMountSetattr recognizes kernels since Linux 5.12. Containers that do not
// know its system calls refuse them with either error.
func haveMountSetattr() bool {
	for _, err := range []error{
		unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.MoveMount(-1, "", -1, "", 0),
	} {
		if err == unix.ENOSYS || err == unix.EPERM {
			return false
		}
	}
	return true
}

// recentMounts uses the system calls of Linux 5.12. mapping is the user
// namespace of lent directories.
type recentMounts struct{ mapping int }

func (r *recentMounts) take(p *place) (err error) {
	p.fd, err = unix.OpenTree(unix.AT_FDCWD, p.from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: uint64(p.flags())} // these flags have the values of the MOUNT_ATTR flags
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

// oldMounts uses the system calls of kernels before Linux 5.12, which change
// the flags of one mount at a time and have no detached mounts.
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

// mountFlags are the options of mountinfo that a remount would clear.
var mountFlags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
}

// remountBelow sets and clears flags of the mount at a path and of all mounts
// below it.
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
		err := unix.Mount("", m.at, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
		if err == unix.ENOENT || err == unix.EINVAL {
			continue // another mount covers this one, so nobody can reach it
		}
		if err != nil {
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

// ownMounts lists the mounts of the calling thread, see proc_pid_mountinfo(5).
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

// unescapeMount decodes the octal numbers that stand for blanks.
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

// ownRoot hides the thread's mounts from all other processes. If the root of a
// chroot is not a mount point, its mounts cannot be separated from those of the
// file system around it. The thread then gets a root that is a mount point, at
// the place of a mount that it has anyway.
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
	dir := slices.IndexFunc(mounts, func(m mounted) bool { return IsDir(m.at) })
	if dir < 0 {
		return errors.New("a chroot without any mount, such as /proc")
	}
	at := mounts[dir].at
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
