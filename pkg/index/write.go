package index

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

// replace replaces the files of the index, in the order in which depmod does.
// New files are written, synced and read back before the first of them is
// renamed. Unchanged files only get a new time, which marks them as files of
// the same index.
func (l *loaded) replace(files []written) error {
	staged := make([]string, len(files))
	defer func() {
		for _, tmp := range staged {
			if tmp != "" {
				os.Remove(tmp)
			}
		}
	}()
	var stage []func() error
	for i, f := range files {
		if f.kept || i > 0 && string(f.data) == l.files[f.name] {
			continue
		}
		stage = append(stage, func() (err error) { // at once, because a file system syncs several files like one
			if staged[i], err = system.StageBytes(l.path(f.name), f.data, 0o644); err != nil {
				return err
			}
			return readBack(staged[i], f.data)
		})
	}
	if err := together(stage...); err != nil {
		return err
	}
	if err := l.checkClock(staged[0]); err != nil {
		return err
	}
	l.wrote = map[string]unix.Stat_t{}
	for i, f := range files {
		was := l.seen[f.name]
		if staged[i] != "" {
			if err := unix.Lstat(staged[i], &was); err != nil {
				return &os.PathError{Op: "stat", Path: staged[i], Err: err}
			}
		}
		l.wrote[f.name] = was
		if err := l.put(staged[i], f.name); err != nil {
			return err
		}
		staged[i] = ""
	}
	return system.SyncDir(l.dir)
}

// has tells whether the files of the index are those that replace wrote.
func (l *loaded) has(now map[string]unix.Stat_t) bool {
	return !slices.ContainsFunc(indexFiles, func(name string) bool {
		was, changing := l.wrote[name]
		if !changing {
			return !same(now[name], l.seen[name])
		}
		return now[name].Ino != was.Ino || now[name].Size != was.Size
	})
}

func (l *loaded) put(tmp, name string) error {
	if tmp == "" {
		now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, l.path(name), now, 0)
	}
	return os.Rename(tmp, l.path(name))
}

func readBack(path string, want []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	part := make([]byte, 64<<10)
	for {
		n, err := f.Read(part)
		switch {
		case errors.Is(err, io.EOF) && len(want) == 0:
			return nil
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case n == 0 || !bytes.HasPrefix(want, part[:n]):
			return &os.PathError{Op: "read", Path: path, Err: errReadBack}
		}
		want = want[n:]
	}
}

var errReadBack = errors.New("what was written is not what is read")

// checkClock returns an error if the clock of the file system is behind the
// times of the index, because then the times of the files prove nothing.
func (l *loaded) checkClock(staged string) error {
	var st unix.Stat_t
	if err := unix.Lstat(staged, &st); err != nil {
		return &os.PathError{Op: "stat", Path: staged, Err: err}
	}
	if st.Ctim.Nano() <= l.made.newest {
		return doubt("the index is of the future")
	}
	return nil
}
