package system

import (
	"cmp"
	"encoding/binary"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dirent is a name in a directory.
type Dirent struct {
	Name string
	// Kind is DT_REG, DT_DIR and so on, or DT_UNKNOWN where the file system
	// does not tell.
	Kind byte
}

// IsDir tells whether the name is a directory, and not a link to one.
func (e Dirent) IsDir() bool { return e.Kind == unix.DT_DIR }

// ReadDir reads a directory in byte order, and asks for every kind that the
// file system does not tell with the name.
func ReadDir(dir string) ([]Dirent, error) {
	fd, err := again(func() (int, error) { return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	list, err := ReadDirent(fd)
	if err != nil {
		return list, &os.PathError{Op: "read", Path: dir, Err: err}
	}
	for i, e := range list {
		if e.Kind == unix.DT_UNKNOWN {
			var st unix.Stat_t
			if unix.Fstatat(fd, e.Name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
				list[i].Kind = byte(st.Mode & unix.S_IFMT >> 12) // as in dirent.h, IFTODT
			}
		}
	}
	slices.SortFunc(list, func(a, b Dirent) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// ReadDirent reads the rest of an open directory, unsorted and without . and
// .., in half the time of [os.File.ReadDir].
func ReadDirent(fd int) (list []Dirent, err error) {
	var buf [4 << 10]byte // on the stack
	for {
		n, err := unix.ReadDirent(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return list, err
		}
		for rest := buf[:n]; len(rest) > 0; {
			size := binary.NativeEndian.Uint16(rest[unsafe.Offsetof(unix.Dirent{}.Reclen):])
			name := unix.ByteSliceToString(rest[unsafe.Offsetof(unix.Dirent{}.Name):size])
			if name != "." && name != ".." {
				list = append(list, Dirent{name, rest[unsafe.Offsetof(unix.Dirent{}.Type)]})
			}
			rest = rest[size:]
		}
	}
}
