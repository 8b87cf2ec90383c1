package index

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
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

// walker finds the module files of a tree. Several goroutines share one.
type walker struct {
	tree     *Tree
	top      int // the open directory of the tree
	suffixes []string
	made     stamp

	mutex sync.Mutex
	// more wakes those who wait for directories.
	more *sync.Cond
	// todo are the directories to read, and busy is how many are being read.
	todo []directory
	busy int
	list []file
	err  error
}

// directory is a directory to walk. Renaming a directory brings in files whose
// own times are unchanged. The renamed directory and the directory above it have
// new times then, so all files below count as changed.
type directory struct {
	rel                    string // its path in the tree with a slash behind, or nothing for the tree itself
	parentChanged, renamed bool
}

// stamp has the oldest and the newest time at which a file of an index was
// written.
type stamp struct{ oldest, newest int64 }

// walk lists the module files of the tree that depmod would index, in no
// particular order.
func (t *Tree) walk(old *loaded) ([]file, error) {
	top, err := unix.Open(t.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: t.Dir, Err: err}
	}
	defer unix.Close(top)
	w := &walker{tree: t, top: top, suffixes: old.depmod.Suffixes, made: old.made, todo: []directory{{parentChanged: true}}}
	w.more = sync.NewCond(&w.mutex)
	w.list = make([]file, 0, len(old.order)+64)
	var walking sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) {
		walking.Go(w.work)
	}
	walking.Wait()
	return w.list, w.err
}

// work reads directories until all are read or one cannot be read.
func (w *walker) work() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for {
		for len(w.todo) == 0 && w.busy > 0 && w.err == nil {
			w.more.Wait()
		}
		if len(w.todo) == 0 || w.err != nil {
			return
		}
		d := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		w.busy++
		w.mutex.Unlock()
		files, below, err := w.read(d)
		w.mutex.Lock()
		w.busy--
		w.list, w.todo = append(w.list, files...), append(w.todo, below...)
		if w.err == nil {
			w.err = err
		}
		w.more.Broadcast()
	}
}

// read returns the module files of a directory, and the directories below it.
func (w *walker) read(d directory) (files []file, below []directory, err error) {
	failed := func(op string, err error) error {
		return &os.PathError{Op: op, Path: filepath.Join(w.tree.Dir, d.rel), Err: err}
	}
	fd, err := unix.Openat(w.top, "./"+d.rel, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, failed("open", err)
	}
	defer unix.Close(fd)
	changed := true // the top directory always changes, because the index itself is in it
	if d.rel != "" {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, nil, failed("stat", err)
		}
		if changed, err = w.changed(d.rel, st.Ctim); err != nil {
			return nil, nil, err
		}
		d.renamed = d.renamed || changed && d.parentChanged
	}
	entries, err := system.ReadDirent(fd)
	if err != nil {
		return nil, nil, failed("read", err)
	}
	for _, e := range entries {
		switch {
		case e.Name == "build" || e.Name == "source":
		case e.Kind == unix.DT_DIR:
			below = append(below, directory{d.rel + e.Name + "/", changed, d.renamed})
		default:
			f, isModule, err := w.file(fd, d, e)
			if err != nil {
				return nil, nil, err
			}
			if isModule {
				files = append(files, f)
			}
		}
	}
	return files, below, nil
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

// file looks at an entry of the directory d, which is open as dir.
func (w *walker) file(dir int, d directory, e system.Dirent) (f file, isModule bool, err error) {
	isModule = slices.ContainsFunc(w.suffixes, func(s string) bool { return strings.HasSuffix(e.Name, s) })
	if !isModule && e.Kind == unix.DT_REG {
		return f, false, nil
	}
	rel := d.rel + e.Name
	var st unix.Stat_t
	if err := unix.Fstatat(dir, e.Name, &st, 0); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return f, false, doubt("%s is neither a file nor a directory", rel)
	}
	if !isModule {
		return f, false, nil
	}
	changed, err := w.changed(rel, st.Ctim)
	if err != nil {
		return f, false, err
	}
	name, ok := moduleName(rel)
	if !ok {
		return f, false, doubt("%s has an unusual name", rel)
	}
	return file{name: name, path: rel, changed: changed || d.renamed || e.Kind != unix.DT_REG}, true, nil
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
