package index

import (
	"maps"
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
	dir   string
	files map[string]string
	seen  map[string]unix.Stat_t // the files before they were read; empty for one that is missing
	wrote map[string]unix.Stat_t // the files that replace wrote, before they got their names
	made  stamp
	// program identifies the depmod program, as it was before it was asked.
	program string
	// noted is what the note says about these files, or nil. Files that it has
	// proven are read when they are needed.
	noted  *noted
	byName map[string]int
	places []place        // of modules
	order  map[string]int // maps each line of modules.order to its number
	// reduced has the direct dependencies of each module that no other
	// dependency implies, in the order of their first use; pushed has the
	// modules that depmod's walk reached from each module.
	reduced, pushed [][]int
}

var (
	// kernelLists are the lists that come with a kernel.
	kernelLists = []string{"order", "builtin", "builtin.modinfo"}
	// builtinFiles are what depmod makes of those lists alone.
	builtinFiles = []string{"builtin.bin", "builtin.alias.bin"}
	// textFiles and binFiles change with the modules.
	textFiles = []string{"dep", "alias", "softdep", "weakdep", "symbols", "devname"}
	binFiles  = []string{"dep.bin", "alias.bin", "symbols.bin"}

	changing   = slices.Concat(textFiles, binFiles)
	indexFiles = slices.Concat(kernelLists, builtinFiles, changing)
)

// open reads the index. An index that lacks a file comes from another version
// of depmod, and one that is older than the kernel's own lists describes other
// modules; neither can be updated.
func (t *Tree) open() (*loaded, error) {
	l := &loaded{dir: t.Dir, files: map[string]string{}, seen: look(t.Dir)}
	for _, name := range indexFiles {
		st := l.seen[name]
		if st.Mode&unix.S_IFMT != unix.S_IFREG && (st.Ino != 0 || name != "weakdep") { // which depmod has since version 33
			return nil, doubt("modules.%s is missing", name)
		}
	}
	l.date()
	if err := together(func() error { return l.recall(t) }, func() error { return l.readAll(textFiles) }); err != nil {
		return nil, err
	}
	if _, has := l.files["weakdep"]; has != (l.depmod.Version >= weakdeps) {
		return nil, doubt("modules.weakdep is not as depmod %d leaves it", l.depmod.Version)
	}
	if l.noted == nil {
		if err := l.prove(); err != nil {
			return nil, err
		}
	}
	return l, l.readOrder()
}

// look looks at the files of the index in dir, of which those that come with the
// kernel may be links.
func look(dir string) map[string]unix.Stat_t {
	seen := make(map[string]unix.Stat_t, len(indexFiles))
	for _, name := range indexFiles {
		var st unix.Stat_t
		if slices.Contains(kernelLists, name) {
			unix.Stat(pathIn(dir, name), &st)
		} else {
			unix.Lstat(pathIn(dir, name), &st)
		}
		seen[name] = st
	}
	return seen
}

// date sets when the index was written. Both times of a file matter: a change of
// owner or mode makes Ctim new, and a copy of the tree makes Mtim old.
func (l *loaded) date() {
	l.made = stamp{oldest: 1<<63 - 1}
	for _, name := range changing {
		if st := l.seen[name]; st.Ino != 0 {
			at := min(st.Ctim.Nano(), st.Mtim.Nano())
			l.made.oldest, l.made.newest = min(l.made.oldest, at), max(l.made.newest, at, st.Ctim.Nano())
		}
	}
}

// recall reads the note about the files, and asks depmod what it is unless the
// note says that.
func (l *loaded) recall(t *Tree) (err error) {
	l.noted = readNote(t.Note, stateOf(l.seen))
	if t.Program != nil {
		l.program = t.Program()
	}
	if l.noted != nil && l.program != "" && l.noted.program == l.program {
		l.depmod = l.noted.depmod
		return nil
	}
	if l.depmod, err = t.Depmod(); err != nil {
		return err
	}
	if l.noted != nil && l.noted.depmod.String() != l.depmod.String() {
		l.noted = nil
	}
	return nil
}

// size is the size of a file, in bytes.
func (l *loaded) size(name string) int { return int(l.seen[name].Size) }

func (l *loaded) readAll(names []string) error {
	for _, name := range names {
		if err := l.read(name); err != nil {
			return err
		}
	}
	return nil
}

// unchanged tells whether the files are still those that were seen.
func (l *loaded) unchanged() bool {
	return maps.EqualFunc(look(l.dir), l.seen, same)
}

func same(a, b unix.Stat_t) bool {
	return a.Ino == b.Ino && a.Size == b.Size && a.Mtim == b.Mtim && a.Ctim == b.Ctim
}

func (l *loaded) path(name string) string { return pathIn(l.dir, name) }

func pathIn(dir, name string) string { return filepath.Join(dir, "modules."+name) }

// read reads a file, unless it was read before or is missing.
func (l *loaded) read(name string) error {
	if _, have := l.files[name]; have || l.seen[name].Ino == 0 {
		return nil
	}
	data, err := system.ReadRegular(l.path(name), maxFile)
	l.files[name] = asString(data)
	return err
}

// prove reads the other files of the index and checks them against the lists that
// come with the kernel.
func (l *loaded) prove() error {
	for _, name := range kernelLists {
		if st := l.seen[name]; st.Ctim.Nano() >= l.made.oldest {
			return doubt("modules.%s is newer than the index", name)
		}
	}
	for _, name := range builtinFiles {
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
	return l.readAll(binFiles)
}

func (l *loaded) readOrder() error {
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
