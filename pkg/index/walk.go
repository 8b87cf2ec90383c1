package index

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"dkms/pkg/system"

	"golang.org/x/sys/unix"
)

// file is a module file of the tree.
type file struct {
	name string // the module name
	path string // relative to the tree
	// changed says that the index may describe another file of this name.
	changed bool
}

// walker finds the module files of a tree.
type walker struct {
	tree     *Tree
	suffixes []string
	made     stamp
	list     []file
}

// stamp has the oldest and the newest time at which a file of an index was
// written.
type stamp struct{ oldest, newest int64 }

// walk lists the module files of the tree that depmod would index.
func (t *Tree) walk(old *loaded) ([]file, error) {
	w := &walker{tree: t, suffixes: old.depmod.Suffixes, made: old.made}
	w.list = make([]file, 0, len(old.order)+64)
	err := w.dir(unix.AT_FDCWD, t.Dir, "", true, false)
	return w.list, err
}

// dir walks the directory name of the directory above; rel is its path in the
// tree with a slash behind, or nothing for the tree itself. Renaming a directory
// brings in files whose own times are unchanged. The renamed directory and the
// directory above it have new times then, so all files below count as changed.
func (w *walker) dir(above int, name, rel string, parentChanged, renamed bool) error {
	failed := func(op string, err error) error {
		return &os.PathError{Op: op, Path: filepath.Join(w.tree.Dir, rel), Err: err}
	}
	fd, err := unix.Openat(above, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", err)
	}
	defer unix.Close(fd)
	changed := true // the top directory always changes, because the index itself is in it
	if rel != "" {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return failed("stat", err)
		}
		if changed, err = w.changed(rel, st.Ctim); err != nil {
			return err
		}
		renamed = renamed || changed && parentChanged
	}
	entries, err := system.ReadDirent(fd)
	if err != nil {
		return failed("read", err)
	}
	for _, e := range entries {
		if e.Name == "build" || e.Name == "source" {
			continue
		}
		if e.Kind == unix.DT_DIR {
			err = w.dir(fd, e.Name, rel+e.Name+"/", changed, renamed)
		} else {
			err = w.file(fd, rel, e, renamed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changed reports whether rel may be newer than the index. A change between the
// first and the last file of the index means that one run did not write all of
// those files, so nothing can be proven.
func (w *walker) changed(rel string, ctime unix.Timespec) (bool, error) {
	at := ctime.Nano()
	if at > w.made.oldest && at <= w.made.newest {
		return true, doubt("%s changed while the index was written", rel)
	}
	return at >= w.made.oldest, nil
}

func (w *walker) file(dir int, dirRel string, e system.Dirent, renamed bool) error {
	isModule := slices.ContainsFunc(w.suffixes, func(s string) bool { return strings.HasSuffix(e.Name, s) })
	if !isModule && e.Kind == unix.DT_REG {
		return nil
	}
	rel := dirRel + e.Name
	var st unix.Stat_t
	if err := unix.Fstatat(dir, e.Name, &st, 0); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return doubt("%s is neither a file nor a directory", rel)
	}
	if !isModule {
		return nil
	}
	changed, err := w.changed(rel, st.Ctim)
	if err != nil {
		return err
	}
	name, ok := moduleName(rel)
	if !ok {
		return doubt("%s has an unusual name", rel)
	}
	w.list = append(w.list, file{name: name, path: rel, changed: changed || renamed || e.Kind != unix.DT_REG})
	return nil
}

// moduleName returns the module name that depmod derives from a file name.
// Names with more dots, or with blanks, are not names of modules.
func moduleName(file string) (string, bool) {
	for i := range len(file) {
		if c := file[i]; c >= 0x80 || c == ' ' || c == '\t' || c == '\n' || c == ':' {
			return "", false
		}
	}
	name, suffix, _ := strings.Cut(file[strings.LastIndexByte(file, '/')+1:], ".")
	if strings.IndexByte(name, '-') >= 0 {
		name = strings.ReplaceAll(name, "-", "_")
	}
	return name, name != "" && (suffix == "ko" || strings.HasPrefix(suffix, "ko.") && strings.Count(suffix, ".") == 1)
}

func isASCII(s string) bool {
	data, all := unsafe.Slice(unsafe.StringData(s), len(s)), uint64(0)
	for ; len(data) >= 8; data = data[8:] {
		all |= binary.NativeEndian.Uint64(data)
	}
	for _, c := range data {
		all |= uint64(c)
	}
	return all&0x8080808080808080 == 0
}

// winners chooses among files of one module name the one that depmod would
// take.
func (t *Tree) winners(found []file) (map[string]file, error) {
	config, err := t.config()
	if err != nil {
		return nil, err
	}
	all := make(map[string]file, len(found))
	for _, f := range found {
		if other, twice := all[f.name]; twice {
			better, err := config.better(f.path, other.path)
			if err != nil {
				return nil, err
			}
			if !better {
				continue
			}
		}
		all[f.name] = f
	}
	if len(all) == 0 {
		return nil, doubt("%s has no modules", t.Dir)
	}
	return all, nil
}
