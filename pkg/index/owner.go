package index

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// own finds the owners of the symbols whose owner may have changed. If several
// modules export a symbol, the last module in the list owns the symbol; the
// index does not mention the others.
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

// owner returns the module that owns a symbol in the new index, or -1.
func (c *change) owner(symbol string) int {
	if owner, ok := c.owners[symbol]; ok {
		return owner
	}
	if old := c.old.owner(symbol); old >= 0 {
		return c.now[old]
	}
	return -1
}

// owner returns the module that owned a symbol in the old index, or -1.
func (l *loaded) owner(symbol string) int {
	at, ok := slices.BinarySearchFunc(l.symbolText, symbol, func(o owned, s string) int {
		return byBucket(o.key[len(symbolPrefix):], s, symbolBuckets)
	})
	if !ok {
		return -1
	}
	return l.symbolText[at].module
}

// proveOwners makes sure, for each symbol whose owner may have changed, that
// every module which could own or import the symbol has been read.
func (c *change) proveOwners() error {
	for _, name := range slices.Sorted(maps.Keys(c.owners)) {
		old, owner := c.old.owner(name), c.owners[name]
		if old >= 0 && owner >= 0 && c.kept(old, owner) {
			continue
		}
		// Modules that are not part of the kernel may export or import the
		// symbol, too.
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

// kept reports whether a symbol still has its owner, at no earlier position.
// Moving the owner to the front of the list could make another module that
// exports the symbol the owner.
func (c *change) kept(old, owner int) bool {
	m := c.modules[owner]
	if m.old != old || m.listed < 0 {
		return m.old == old
	}
	was := c.old.listed(c.old.modules[old].path)
	return was >= 0 && was <= m.listed
}

// provider checks a symbol against the kernel's own list of symbols. The list
// must not contain a new symbol, and the module that provides a lost symbol
// must be read.
func (c *change) provider(symbol string, old int) error {
	if _, asked := c.symvers[symbol]; !asked {
		symvers, err := readSymvers(c.tree.Symvers, c.owners)
		if err != nil {
			return err
		}
		c.symvers = symvers
	}
	s := c.symvers[symbol]
	switch {
	case s.namespace:
		return doubt("%s is the name of a namespace of the kernel", symbol)
	case s.provider == "":
		return nil
	case old < 0:
		return doubt("%s is a symbol of the kernel that had no module", symbol)
	}
	if i, there := c.byName[s.provider]; there {
		return c.read(&c.modules[i])
	}
	return nil
}

// symver is what Module.symvers has of a symbol: the module that provides it,
// and whether the name is that of a namespace.
type symver struct {
	provider  string
	namespace bool
}

// maxSymvers bounds the list, in bytes; real ones have 2 MB.
const maxSymvers = 64 << 20

// readSymvers looks up symbols in Module.symvers.
func readSymvers(path string, symbols map[string]int) (map[string]symver, error) {
	data, err := system.ReadRegular(path, maxSymvers)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, doubt("the kernel's own symbols are not known: there is no %s", path)
	}
	if err != nil {
		return nil, err
	}
	found := make(map[string]symver, len(symbols))
	for name := range symbols {
		found[name] = symver{}
	}
	for line := range strings.Lines(asString(data)) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		symbol, rest, _ := strings.Cut(rest, "\t")
		module, rest, _ := strings.Cut(rest, "\t")
		kind, namespace, _ := strings.Cut(rest, "\t")
		if module == "" || !strings.HasPrefix(kind, "EXPORT_") {
			return nil, doubt("%s has an unknown line", path)
		}
		if s, asked := found[symbol]; asked {
			s.provider = strings.ReplaceAll(module[strings.LastIndexByte(module, '/')+1:], "-", "_")
			found[symbol] = s
		}
		if namespace == "" {
			continue
		}
		namespace, _, _ = strings.Cut(namespace, "\t")
		if s, asked := found[namespace]; asked {
			s.namespace = true
			found[namespace] = s
		}
	}
	return found, nil
}
