package build

import (
	"cmp"
	"fmt"
	"hash"
	"hash/fnv"
	"os"
	"slices"
	"strconv"

	"dkms/pkg/system"

	"golang.org/x/sys/unix"
)

// Stamp tells cheaply whether the sources may have changed: the stamp consists
// of the names, sizes and times of all files. Stamp reads no file. Every boot
// waits for the stamps of all modules, so files are named from their open
// directory.
func (s *Sources) Stamp() (uint64, error) {
	h := fnv.New64a()
	for _, dir := range s.dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = stampDir(h, fd, "")
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", dir, err)
		}
	}
	for _, file := range s.files {
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			return 0, &os.PathError{Op: "stat", Path: file, Err: err}
		}
		stampFile(h, file, &st)
	}
	return h.Sum64(), nil
}

// stampDir adds everything below the open directory dir, in byte order, and
// closes dir. below is the path of dir below the sources.
func stampDir(h hash.Hash64, dir int, below string) error {
	defer unix.Close(dir)
	entries, err := system.ReadDirent(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b system.Dirent) int { return cmp.Compare(a.Name, b.Name) })
	for _, e := range entries {
		path := below + "/" + e.Name
		var st unix.Stat_t
		if err := unix.Fstatat(dir, e.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			stampFile(h, path, &st)
			continue
		}
		sub, err := unix.Openat(dir, e.Name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			err = stampDir(h, sub, path)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func stampFile(h hash.Hash64, name string, st *unix.Stat_t) {
	line := append(make([]byte, 0, 128), name...)
	line = strconv.AppendInt(append(line, ' '), st.Size, 10)
	line = strconv.AppendInt(append(line, ' '), st.Mtim.Nano(), 10)
	h.Write(append(line, '\n'))
}
