package index

import (
	"fmt"
	"slices"
	"strings"
)

// contents returns the content of the new index.
func (c *change) contents() (*contents, error) {
	now := &contents{depmod: c.old.depmod, modules: make([]entryOf, len(c.modules))}
	closures := c.graph.closures(c.ranking)
	var names, aliases []owned
	for i, m := range c.modules {
		entry := entryOf{name: m.name, path: m.path, deps: closures[i]}
		if m.changed {
			keys, err := m.describe(&entry)
			if err != nil {
				return nil, err
			}
			for _, key := range keys {
				aliases = append(aliases, owned{key, i})
			}
		} else {
			old := c.old.modules[m.old]
			entry.aliases, entry.softdeps, entry.weakdeps, entry.node = old.aliases, old.softdeps, old.weakdeps, old.node
		}
		if m.old < 0 {
			names = append(names, owned{m.name, i})
		}
		now.modules[i] = entry
	}
	slices.SortFunc(names, byKey)
	now.names = c.merge(c.old.names, names, func(m int) bool { return c.now[m] < 0 }, byKey)
	now.keepAliases, now.keepSymbols = c.same(len(aliases) == 0)
	if err := c.old.readLists(!now.keepAliases, !now.keepSymbols); err != nil {
		return nil, err
	}
	if !now.keepAliases {
		slices.SortFunc(aliases, byKey)
		now.aliases = c.merge(c.old.aliases, aliases, c.touched, byKey)
	}
	if !now.keepSymbols {
		c.symbols(now)
	}
	return now, nil
}

// same tells whether the aliases and the symbols of the new index are those of
// the old one, given whether no changed module has aliases. A module that moves
// to another position takes its aliases and symbols along: their numbers change.
func (c *change) same(noneAdded bool) (aliases, symbols bool) {
	aliases, symbols = noneAdded, len(c.owners) == 0
	moved := func(m int) bool { return c.now[m] >= 0 && c.now[m] != m }
	for i := range c.now {
		if (moved(i) || c.touched(i)) && c.old.modules[i].aliases != "" {
			aliases = false
		}
	}
	return aliases, symbols && !slices.ContainsFunc(c.old.symbolText, func(s owned) bool { return moved(s.module) })
}

// symbols sets the symbols of the new index: those of the old index whose owner
// is unchanged, and those in c.owners.
func (c *change) symbols(now *contents) {
	var owners []owned
	gone := make(map[string]bool, len(c.owners))
	for name, owner := range c.owners {
		gone[symbolPrefix+name] = true
		if owner >= 0 {
			owners = append(owners, owned{symbolPrefix + name, owner})
		}
	}
	byBucket := func(a, b owned) int {
		return byBucket(a.key[len(symbolPrefix):], b.key[len(symbolPrefix):], symbolBuckets)
	}
	now.symbols = c.mergeSymbols(c.old.symbols, owners, gone, byKey)
	now.symbolText = c.mergeSymbols(c.old.symbolText, owners, gone, byBucket)
}

func (c *change) mergeSymbols(old, owners []owned, gone map[string]bool, compare func(a, b owned) int) []owned {
	if len(gone) == 0 {
		return c.merge(old, nil, c.touched, compare)
	}
	kept := make([]owned, 0, len(old))
	for _, o := range old {
		if !gone[o.key] {
			kept = append(kept, o)
		}
	}
	owners = slices.SortedFunc(slices.Values(owners), compare)
	return c.merge(kept, owners, c.touched, compare)
}

// merge merges new entries into the old entries of unchanged modules. Unchanged
// modules keep their order.
func (c *change) merge(old, added []owned, touched func(int) bool, compare func(a, b owned) int) []owned {
	out := make([]owned, 0, len(old)+len(added))
	for _, o := range old {
		if touched(o.module) {
			continue
		}
		o.module = c.now[o.module]
		for len(added) > 0 && compare(added[0], o) < 0 {
			out = append(out, added[0])
			added = added[1:]
		}
		out = append(out, o)
	}
	return append(out, added...)
}

// describe fills in the lines of a module that was read, and returns the keys
// of its aliases.
func (m *fresh) describe(e *entryOf) (keys []string, err error) {
	var aliases, softdeps, weakdeps strings.Builder
	for _, a := range m.links.Aliases {
		key, ok := aliasKey(a)
		if !ok {
			return nil, doubt("%s has the alias %s", m.path, a)
		}
		keys = append(keys, key)
		fmt.Fprintf(&aliases, "alias %s %s\n", a, m.name)
	}
	for _, s := range m.links.Softdeps {
		fmt.Fprintf(&softdeps, "softdep %s %s\n", m.name, s)
	}
	for _, w := range m.links.Weakdeps {
		fmt.Fprintf(&weakdeps, "weakdep %s %s\n", m.name, w)
	}
	e.aliases, e.softdeps, e.weakdeps = aliases.String(), softdeps.String(), weakdeps.String()
	e.node, err = m.devname()
	return keys, err
}

// devname returns the line of a module that needs a device node before it is
// loaded: the last name and the last number, taken when both are known.
func (m *fresh) devname() (string, error) {
	name, number := "", ""
	for _, a := range m.links.Aliases {
		if rest, ok := strings.CutPrefix(a, "devname:"); ok {
			name = rest
		}
		kind, rest := "c", strings.TrimPrefix(a, "char-major-")
		if rest == a {
			kind, rest = "b", strings.TrimPrefix(a, "block-major-")
		}
		major, minor, ok := strings.Cut(rest, "-")
		if rest != a && ok && major != "*" && minor != "*" {
			if !isNumber(major) || !isNumber(minor) {
				return "", doubt("%s has the alias %s", m.path, a)
			}
			number = kind + major + ":" + minor
		}
		if name != "" && number != "" {
			return fmt.Sprintf("%s %s %s\n", m.name, name, number), nil
		}
	}
	if name != "" {
		return "", doubt("%s names a device node without its number", m.path)
	}
	return "", nil
}

// isNumber reports whether s is a number in its canonical form.
func isNumber(s string) bool {
	return s != "" && len(s) < 9 && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}
