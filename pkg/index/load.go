package index

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

// maxFile bounds a file of an index, in bytes.
const maxFile = 64 << 20

// loaded is an index as it is on disk.
type loaded struct {
	contents
	dir    string
	files  map[string]string
	seen   map[string]unix.Stat_t // the files before they were read; empty for one that was missing
	made   stamp
	byName map[string]int
	places []place        // of modules
	order  map[string]int // maps each line of modules.order to its number
	// reduced has the direct dependencies of each module that no other
	// dependency implies, in the order of their first use; pushed has the
	// modules that depmod's walk reached from each module.
	reduced, pushed [][]int
}

// kernelLists are the lists that come with a kernel.
var kernelLists = []string{"order", "builtin", "builtin.modinfo"}

// open reads the index. An index that lacks a file comes from another version
// of depmod, and one that is older than the kernel's own lists describes other
// modules; neither can be updated.
func (t *Tree) open() (*loaded, error) {
	l := &loaded{dir: t.Dir, files: map[string]string{}, seen: map[string]unix.Stat_t{}, made: stamp{oldest: 1<<63 - 1}}
	for _, name := range slices.Concat(kernelLists, []string{"dep.bin", "alias.bin", "symbols.bin", "builtin.alias.bin"}) {
		if !system.IsFile(l.path(name)) {
			return nil, doubt("modules.%s is missing", name)
		}
	}
	err := together(func() (err error) {
		l.depmod, err = t.Depmod()
		return err
	}, l.readAll)
	if err != nil {
		return nil, err
	}
	if _, has := l.files["weakdep"]; has != (l.depmod.Version >= weakdeps) {
		return nil, doubt("modules.weakdep is not as depmod %d leaves it", l.depmod.Version)
	}
	return l, l.inputs()
}

// readAll reads the files that change with the modules.
func (l *loaded) readAll() error {
	for _, name := range []string{"dep", "dep.bin", "alias", "alias.bin", "softdep", "weakdep", "symbols", "symbols.bin", "devname"} {
		if err := l.read(name); err != nil {
			return err
		}
	}
	return nil
}

// unchanged tells whether the files are still those that were read.
func (l *loaded) unchanged() bool {
	for name, was := range l.seen {
		var st unix.Stat_t
		unix.Stat(l.path(name), &st) // leaves it empty, as for a file that was missing
		if st.Ino != was.Ino || st.Size != was.Size || st.Mtim != was.Mtim || st.Ctim != was.Ctim {
			return false
		}
	}
	return true
}

func (l *loaded) path(name string) string { return filepath.Join(l.dir, "modules."+name) }

func (l *loaded) read(name string) error {
	var st unix.Stat_t
	err := unix.Lstat(l.path(name), &st)
	if name == "weakdep" && err == unix.ENOENT {
		l.seen[name] = unix.Stat_t{}
		return nil // as depmod leaves it before version 33
	}
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return doubt("modules.%s is missing", name)
	}
	// Both times matter: a change of owner or mode makes Ctim new, and a copy
	// of the tree makes Mtim old.
	at := min(st.Ctim.Nano(), st.Mtim.Nano())
	l.made.oldest, l.made.newest = min(l.made.oldest, at), max(l.made.newest, at, st.Ctim.Nano())
	l.seen[name] = st
	data, err := system.ReadRegular(l.path(name), maxFile)
	l.files[name] = asString(data)
	return err
}

// stat looks at a file that comes with the kernel.
func (l *loaded) stat(name string) (st unix.Stat_t, err error) {
	err = unix.Stat(l.path(name), &st)
	l.seen[name] = st
	return st, err
}

// inputs checks the lists that come with the kernel, and the files that depmod
// makes from those lists alone.
func (l *loaded) inputs() error {
	for _, name := range kernelLists {
		st, err := l.stat(name)
		if err != nil {
			return doubt("modules.%s is missing", name)
		}
		if st.Ctim.Nano() >= l.made.oldest {
			return doubt("modules.%s is newer than the index", name)
		}
	}
	for _, name := range []string{"builtin.bin", "builtin.alias.bin"} {
		l.stat(name) // reading fails for the same reason
		data, err := system.ReadRegular(l.path(name), maxFile)
		if err != nil {
			return doubt("modules.%s is missing", name)
		}
		// The oldest supported depmod leaves the index of aliases empty.
		empty := len(data) == 0
		if empty != (name == "builtin.alias.bin" && l.depmod.Version == oldest) || !empty && !fits(data, l.layout()) {
			return doubt("modules.%s is not as depmod %d leaves it", name, l.depmod.Version)
		}
	}
	data, err := system.ReadRegular(l.path("order"), maxFile)
	if err != nil {
		return err
	}
	return l.parseOrder(asString(data))
}

func (l *loaded) parseOrder(text string) error {
	if !strings.HasSuffix(text, "\n") {
		return doubt("the last line of modules.order has no end")
	}
	l.order = make(map[string]int, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		if len(line) >= 4096 {
			return doubt("modules.order has a long line")
		}
		l.order[strings.TrimSuffix(line, "\n")] = len(l.order)
	}
	if len(l.order) != strings.Count(text, "\n") {
		return doubt("modules.order names a module twice")
	}
	return nil
}

func (l *loaded) place(path, name string) place {
	return place{l.listed(path), name, bucket(name, moduleBuckets)}
}

// listed returns the position of a file in modules.order, or -1.
func (l *loaded) listed(path string) int {
	base := strings.LastIndexByte(path, '/') + 1
	if end := strings.IndexByte(path[base:], '.'); path[base+end:] != ".ko" {
		path = path[:base+end] + ".ko"
	}
	if at, ok := l.order[path]; ok {
		return at
	}
	return -1
}

// verifyOrder checks the order of the text files.
func (l *loaded) verifyOrder() error {
	l.places = make([]place, len(l.modules))
	for i, m := range l.modules {
		l.places[i] = l.place(m.path, m.name)
	}
	if !slices.IsSortedFunc(l.places, place.compare) {
		return doubt("modules.dep is not in the order of depmod")
	}
	var last string
	var lastBucket uint32
	for _, s := range l.symbolText {
		name := s.key[len(symbolPrefix):]
		b := bucket(name, symbolBuckets)
		if b < lastBucket || b == lastBucket && name <= last {
			return doubt("modules.symbols is not in the order of depmod")
		}
		last, lastBucket = name, b
	}
	return nil
}
