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

	"dkms/pkg/module"
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
	since    int64               // what is older is as the index and the note have it, in nanoseconds
	known    map[string]*entries // as a note has them
	// namesOnly says that the names are enough, whatever is behind them.
	namesOnly bool

	mutex sync.Mutex
	// more wakes those who wait for directories.
	more *sync.Cond
	// todo are the directories to read, and busy is how many are being read.
	todo []directory
	busy int
	list []file
	err  error

	began int64               // in nanoseconds
	found map[string]*entries // what the directories have, by directory.rel
	// odd says that a note could not tell about the tree what it has to.
	odd bool
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

func (t *Tree) walker(old *loaded) *walker {
	w := &walker{tree: t, suffixes: old.depmod.Suffixes, made: old.made, since: old.made.oldest, todo: []directory{{parentChanged: true}}}
	w.more = sync.NewCond(&w.mutex)
	w.list = make([]file, 0, len(old.order)+64)
	w.found = make(map[string]*entries, 1024)
	if old.noted != nil {
		w.known = old.noted.dirs
		w.since = min(w.since, old.noted.walked)
	}
	return w
}

// walk finds the module files of the tree that depmod would index, in no
// particular order.
func (w *walker) walk() (err error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil { // the clock of the times of files
		return os.NewSyscallError("clock_gettime", err)
	}
	w.began = now.Nano()
	if w.top, err = unix.Open(w.tree.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: w.tree.Dir, Err: err}
	}
	defer unix.Close(w.top)
	var walking sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) {
		walking.Go(w.work)
	}
	walking.Wait()
	return w.err
}

// complete tells whether the walk has found all that a note has to tell.
func (w *walker) complete() bool { return w.err == nil && !w.odd }

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
		r := reading{walker: w, directory: d}
		err := r.read()
		w.mutex.Lock()
		w.busy--
		w.list, w.todo = append(w.list, r.files...), append(w.todo, r.below...)
		w.odd = w.odd || r.odd
		w.found[d.rel] = r.has
		if w.err == nil {
			w.err = err
		}
		w.more.Broadcast()
	}
}

// reading is the reading of one directory.
type reading struct {
	*walker
	directory
	files []file
	below []directory
	has   *entries
	odd   bool
}

// read finds the module files of the directory, and the directories below it.
func (r *reading) read() error {
	how, known := unix.O_RDONLY, r.known[r.rel]
	if known != nil {
		how = unix.O_PATH // which is enough to ask for its times
	}
	fd, err := unix.Openat(r.top, "./"+r.rel, how|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return r.failed("open", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return r.failed("stat", err)
	}
	changed := true // the top directory always changes, because the index itself is in it
	if r.rel != "" {
		if changed, err = r.changed(r.rel, st.Ctim); err != nil {
			return err
		}
		r.renamed = r.renamed || changed && r.parentChanged
	}
	r.renamed = r.renamed || known != nil && known.inode != st.Ino // or something is mounted there
	r.has = known
	if known == nil || changed || r.renamed {
		if err := r.list(fd, known != nil); err != nil {
			return r.failed("read", err)
		}
		r.has.inode = st.Ino
	}
	for _, name := range r.has.dirs {
		r.below = append(r.below, directory{r.rel + name + "/", changed, r.renamed})
	}
	if r.namesOnly {
		return nil
	}
	return r.look(fd)
}

func (r *reading) failed(op string, err error) error {
	return &os.PathError{Op: op, Path: filepath.Join(r.tree.Dir, r.rel), Err: err}
}

// list lists the directory, which is open for its times only, or for reading.
func (r *reading) list(fd int, timesOnly bool) (err error) {
	if timesOnly {
		if fd, err = unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	names, err := system.ReadDirent(fd)
	if err != nil {
		return err
	}
	r.has = &entries{}
	for _, e := range names {
		r.odd = r.odd || strings.Contains(e.Name, "\n")
		switch {
		case e.Name == "build" || e.Name == "source":
			r.odd = r.odd || e.Kind == unix.DT_DIR
		case e.Kind == unix.DT_DIR:
			r.has.dirs = append(r.has.dirs, e.Name)
		case e.Kind != unix.DT_REG:
			r.has.others = append(r.has.others, e.Name)
		case r.isModule(e.Name):
			r.has.files = append(r.has.files, e.Name)
		case module.IsFileName(e.Name):
			r.has.unread = append(r.has.unread, e.Name)
		}
	}
	return nil
}

func (w *walker) isModule(name string) bool {
	return slices.ContainsFunc(w.suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// changed reports whether rel may be newer than the index. A change between the
// first and the last file of the index means that one run did not write all of
// those files, so nothing can be proven.
func (w *walker) changed(rel string, ctime unix.Timespec) (bool, error) {
	at := ctime.Nano()
	if at > w.made.oldest && at <= w.made.newest {
		return true, doubt("%s changed while the index was written", rel)
	}
	return at >= w.since, nil
}

// look looks at the names in the directory, which is open as fd.
func (r *reading) look(fd int) error {
	for _, name := range r.has.files {
		if err := r.file(fd, name, false); err != nil {
			return err
		}
	}
	for _, name := range r.has.others {
		if err := r.file(fd, name, true); err != nil {
			return err
		}
	}
	return nil
}

// file looks at a name in the directory. The index may describe another file of
// the name of a link.
func (r *reading) file(fd int, base string, link bool) error {
	rel := r.rel + base
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, 0); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return doubt("%s is neither a file nor a directory", rel)
	}
	if link && !r.isModule(base) {
		return nil
	}
	changed, err := r.changed(rel, st.Ctim)
	if err != nil {
		return err
	}
	name, ok := moduleName(rel)
	if !ok {
		return doubt("%s has an unusual name", rel)
	}
	r.files = append(r.files, file{name: name, path: rel, changed: changed || r.renamed || link})
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
