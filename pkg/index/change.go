package index

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// maxRead is the largest number of module files to read; for more files depmod
// is as fast.
const maxRead = 100

// maxModule bounds a module file, in bytes.
const maxModule = 256 << 20

// place is the position of a module in depmod's list: first the modules that
// modules.order lists, in that order, then the others by name.
type place struct {
	listed int // line in modules.order, or -1
	name   string
	bucket uint32
}

func (p place) compare(q place) int {
	switch {
	case p.listed >= 0 && q.listed >= 0:
		return cmp.Compare(p.listed, q.listed)
	case p.listed >= 0:
		return -1
	case q.listed >= 0:
		return 1
	}
	return cmp.Or(cmp.Compare(p.bucket, q.bucket), strings.Compare(p.name, q.name))
}

// change is the difference between the old index and the index of the modules
// that exist now.
type change struct {
	tree    *Tree
	old     *loaded
	walked  *walker // which found the modules
	modules []fresh
	// now maps each module of the old index to its position in the new one, or
	// -1.
	now    []int
	byName map[string]int
	// owners maps symbols to their owners in the new index; -1 means no owner.
	// It has the symbols that the modules read export, and those that changed
	// or removed modules owned.
	owners map[string]int
	// moved has the old owners, by position in the old index, of the symbols
	// that have another owner now.
	moved   map[int]bool
	symvers map[string]symver
	reads   int
	graph   graph
	ranking ranking
}

// fresh is a module in its present state.
type fresh struct {
	place
	path    string
	old     int  // position in the old index, or -1
	changed bool // the old index may not describe this file
	links   *module.Links
}

// compare finds the differences between the old index and the modules now.
func (t *Tree) compare(old *loaded, winners map[string]file) (*change, error) {
	c := &change{tree: t, old: old, now: make([]int, len(old.modules)), byName: make(map[string]int, len(winners))}
	c.modules = make([]fresh, 0, len(winners))
	var added []fresh
	for i, m := range old.modules { // in their order, except those that are elsewhere now
		f, there := winners[m.name]
		switch {
		case !there:
		case f.path == m.path:
			c.modules = append(c.modules, fresh{place: old.places[i], path: m.path, old: i, changed: f.changed})
		default:
			added = append(added, fresh{place: old.place(f.path, m.name), path: f.path, old: i, changed: true})
		}
	}
	for name, f := range winners {
		if _, known := old.byName[name]; !known {
			added = append(added, fresh{place: old.place(f.path, name), path: f.path, old: -1, changed: true})
		}
	}
	for _, m := range added {
		at, _ := slices.BinarySearchFunc(c.modules, m, func(a, b fresh) int { return a.compare(b.place) })
		c.modules = slices.Insert(c.modules, at, m)
	}
	for i := range c.now {
		c.now[i] = -1
	}
	for i, m := range c.modules {
		c.byName[m.name] = i
		if m.old >= 0 {
			c.now[m.old] = i
		}
	}
	if len(c.modules) > 65534 {
		return nil, doubt("there are %d modules", len(c.modules))
	}
	return c, c.readAll(func(m *fresh) bool { return m.changed })
}

// read reads a module, unless it was read before.
func (c *change) read(m *fresh) error {
	if m.links != nil {
		return nil
	}
	c.reads++
	links, err := readLinks(filepath.Join(c.tree.Dir, m.path))
	if err != nil {
		return doubt("%s: %v", m.path, err)
	}
	m.links = links
	for _, list := range [][]string{links.Aliases, links.Softdeps, links.Weakdeps, links.Exports, links.Imports} {
		if slices.ContainsFunc(list, func(s string) bool { return !isASCII(s) || strings.Contains(s, "\n") || len(s) > 1000 }) {
			return doubt("%s: something unusual is in it", m.path)
		}
	}
	return nil
}

// readLinks reads a module file if depmod can read it: the compression must
// match the suffix, and a zstd file must contain its size, because kmod 34
// rejects a file without.
func readLinks(path string) (*module.Links, error) {
	raw, err := system.ReadRegular(path, maxModule)
	if err != nil {
		return nil, err
	}
	compression := module.Detect(raw)
	if _, named, _ := module.ParseSuffix(path); named != compression {
		return nil, fmt.Errorf("its compression is not that of its name but %v", compression)
	}
	data, err := module.Decompress(raw)
	if err != nil {
		return nil, err
	}
	var frame zstd.Header
	if compression == module.Zstd && (frame.Decode(raw) != nil || !frame.HasFCS || frame.FrameContentSize != uint64(len(data))) {
		return nil, errors.New("it is no zstd frame that tells its size")
	}
	return module.ReadLinks(data)
}

// readAll reads the modules that satisfy which, unless there are too many.
func (c *change) readAll(which func(*fresh) bool) error {
	var todo []*fresh
	for i := range c.modules {
		if m := &c.modules[i]; m.links == nil && which(m) {
			todo = append(todo, m)
		}
	}
	if n := c.reads + len(todo); n > maxRead {
		return doubt("%d modules would have to be read", n)
	}
	for _, m := range todo {
		if err := c.read(m); err != nil {
			return err
		}
	}
	return nil
}

// settle reads modules until everything that the new index depends on is known.
func (c *change) settle() error {
	for before := -1; before != c.reads; {
		before = c.reads
		if err := c.own(); err != nil {
			return err
		}
		if err := c.readUsers(); err != nil {
			return err
		}
		if c.reads != before {
			continue
		}
		if err := c.rank(); err != nil {
			return err
		}
	}
	return nil
}

// touched reports whether a module of the old index has changed or is gone.
func (c *change) touched(old int) bool { return c.now[old] < 0 || c.modules[c.now[old]].changed }

// readUsers reads the modules that may import from a module that has changed,
// is gone, or has lost a symbol to another module.
func (c *change) readUsers() error {
	return c.readAll(func(m *fresh) bool {
		return slices.ContainsFunc(c.old.modules[m.old].deps, func(d int) bool { return c.touched(d) || c.moved[d] })
	})
}

// rank sorts the modules into depmod's order of dependencies. The old index
// shows the order in which a module uses two others only where depmod's walk
// reached both others from that module. Where the walk reaches new ones, the
// order is unknown, so rank reads the module.
func (c *change) rank() error {
	c.graph = make(graph, len(c.modules))
	for i := range c.modules {
		deps, err := c.direct(i)
		if err != nil {
			return err
		}
		c.graph[i] = deps
	}
	var ok bool
	if c.ranking, ok = c.graph.walk(); !ok {
		return doubt("modules need each other")
	}
	for i, pushed := range c.ranking.pushed {
		m := &c.modules[i]
		if m.links != nil || len(pushed) < 2 {
			continue
		}
		known := func(d int) bool { return slices.Contains(c.old.pushed[m.old], c.modules[d].old) }
		if slices.ContainsFunc(pushed, func(d int) bool { return !known(d) }) {
			if err := c.read(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// direct returns the modules from which module i imports, in the order of the
// first use.
func (c *change) direct(i int) ([]int, error) {
	m := &c.modules[i]
	var deps []int
	if m.links == nil {
		for _, d := range c.old.reduced[m.old] {
			deps = append(deps, c.now[d])
		}
		return deps, nil
	}
	for _, symbol := range m.links.Imports {
		owner := c.owner(symbol)
		switch {
		case owner == i:
			return nil, doubt("%s imports %s from itself", m.path, symbol)
		case owner >= 0 && !slices.Contains(deps, owner):
			deps = append(deps, owner)
		}
	}
	return deps, nil
}

// result describes the change.
func (c *change) result() *Result {
	r := &Result{Modules: len(c.modules), Read: c.reads}
	for _, m := range c.modules {
		if m.changed {
			r.Changed++
		}
	}
	for _, now := range c.now {
		if now < 0 {
			r.Removed++
		}
	}
	return r
}
