package index

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// own finds the owners of the symbols that may have got another one. Of several
// modules that export a symbol the last in the list owns it; the others leave
// no trace in the index.
func (c *change) own() error {
	c.owners, c.moved = map[string]int{}, map[int]bool{}
	for _, s := range c.old.symbolText {
		if c.touched(s.module) {
			c.owners[s.key[len(symbolPrefix):]] = -1
		}
	}
	for i, m := range c.modules {
		if m.links == nil {
			continue
		}
		for _, name := range m.links.Exports {
			owner, known := c.owners[name]
			if !known {
				owner = -1
				if old := c.old.owner(name); old >= 0 && !c.touched(old) {
					owner = c.now[old]
				}
			}
			c.owners[name] = max(owner, i)
		}
	}
	return c.proveOwners()
}

// owner is the module that owns a symbol, or -1.
func (c *change) owner(symbol string) int {
	if owner, ok := c.owners[symbol]; ok {
		return owner
	}
	if old := c.old.owner(symbol); old >= 0 {
		return c.now[old]
	}
	return -1
}

// owner is the module that owned a symbol, or -1.
func (l *loaded) owner(symbol string) int {
	at, ok := slices.BinarySearchFunc(l.symbols, symbol, func(o owned, s string) int {
		return strings.Compare(o.key[len(symbolPrefix):], s)
	})
	if !ok {
		return -1
	}
	return l.symbols[at].module
}

// proveOwners looks, for each symbol that may have got another owner, whether
// a module that was not read could own or import it.
func (c *change) proveOwners() error {
	for _, name := range slices.Sorted(maps.Keys(c.owners)) {
		old, owner := c.old.owner(name), c.owners[name]
		if old >= 0 && owner >= 0 && c.kept(old, owner) {
			continue
		}
		// What is not part of the kernel may have it, too, or want it.
		if err := c.readAll(func(m *fresh) bool { return m.listed < 0 }); err != nil {
			return err
		}
		if err := c.provider(name, old); err != nil {
			return err
		}
		if old >= 0 {
			c.moved[old] = true
		}
	}
	return nil
}

// kept tells whether a symbol still has its owner, and the owner its place: one
// that has moved to the front of the list may have uncovered another.
func (c *change) kept(old, owner int) bool {
	m := c.modules[owner]
	if m.old != old || m.listed < 0 {
		return m.old == old
	}
	was := c.old.listed(c.old.modules[old].path)
	return was >= 0 && was <= m.listed
}

// provider looks what the kernel's own list of symbols says of one: of a new
// symbol it must know nothing, and who provides one that was lost has to be
// read.
func (c *change) provider(symbol string, old int) error {
	if c.symvers == nil {
		s, err := readSymvers(c.tree.Symvers)
		if err != nil {
			return err
		}
		c.symvers = s
	}
	if c.symvers.namespaces[symbol] {
		return doubt("%s is the name of a namespace of the kernel", symbol)
	}
	name, known := c.symvers.providers[symbol]
	if !known {
		return nil
	}
	if old < 0 {
		return doubt("%s is a symbol of the kernel that had no module", symbol)
	}
	if i, there := c.byName[name]; there {
		return c.read(&c.modules[i])
	}
	return nil
}

// symvers is what Module.symvers says: the module that provides each symbol of
// the kernel, and the names of namespaces.
type symvers struct {
	providers  map[string]string
	namespaces map[string]bool
}

// maxSymvers bounds the list, in bytes; real ones have 2 MB.
const maxSymvers = 64 << 20

func readSymvers(path string) (*symvers, error) {
	data, err := system.ReadRegular(path, maxSymvers)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, doubt("the kernel's own symbols are not known: there is no %s", path)
	}
	if err != nil {
		return nil, err
	}
	s := &symvers{providers: map[string]string{}, namespaces: map[string]bool{}}
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) < 4 || !strings.HasPrefix(fields[3], "EXPORT_") {
			return nil, doubt("%s has an unknown line", path)
		}
		s.providers[fields[1]] = strings.ReplaceAll(fields[2][strings.LastIndexByte(fields[2], '/')+1:], "-", "_")
		if len(fields) > 4 && fields[4] != "" {
			s.namespaces[fields[4]] = true
		}
	}
	return s, nil
}
