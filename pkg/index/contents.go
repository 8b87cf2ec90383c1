package index

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// contents is the content of an index.
type contents struct {
	depmod  Depmod
	modules []entryOf
	// aliases are sorted by key. symbols are sorted by name, symbolText has the
	// same symbols in the order of the text file.
	aliases, symbols, symbolText []owned
}

// entryOf is the content of the index for one module. Everything except the
// dependencies is kept as lines of the text files.
type entryOf struct {
	name, path                        string
	deps                              []int // in the order of the line
	aliases, softdeps, weakdeps, node string
}

// owned is an alias or a symbol, with the position of the module that has it.
type owned struct {
	key    string
	module int
}

func byKey(a, b owned) int {
	return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.module, b.module))
}

// symbolPrefix begins the aliases for symbols.
const symbolPrefix = "symbol:"

// The first lines of the text files.
const (
	aliasHead   = "# Aliases extracted from modules themselves.\n"
	softdepHead = "# Soft dependencies extracted from modules themselves.\n"
	weakdepHead = "# Weak dependencies extracted from modules themselves.\n"
	symbolHead  = "# Aliases for symbols, used by symbol_request().\n"
	devnameHead = "# Device nodes to trigger on-demand module loading.\n"
)

// written is a file of an index to be written.
type written struct {
	name string // the part behind "modules."
	data []byte
}

// render returns the files of an index, in the order in which depmod writes
// them.
func (c *contents) render(like map[string][]byte) []written {
	dep, depBin := c.dependencies(like)
	list := []written{
		{"dep", dep}, {"dep.bin", depBin},
		{"alias", c.text(aliasHead, func(m *entryOf) string { return m.aliases })},
		{"alias.bin", c.binary(c.aliases, len(like["alias.bin"]))},
		{"softdep", c.text(softdepHead, func(m *entryOf) string { return m.softdeps })},
	}
	if c.depmod.Version >= weakdeps {
		list = append(list, written{"weakdep", c.text(weakdepHead, func(m *entryOf) string { return m.weakdeps })})
	}
	devname := c.text(devnameHead, func(m *entryOf) string { return m.node })
	if len(devname) == len(devnameHead) {
		devname = nil
	}
	return append(list,
		written{"symbols", c.symbolLines(len(like["symbols"]))},
		written{"symbols.bin", c.binary(c.symbols, len(like["symbols.bin"]))},
		written{"devname", devname})
}

func (c *contents) layout() layout { return layout(c.depmod.Version >= nodeFirst) }

// dependencies returns modules.dep and its binary form, whose values are the
// lines of modules.dep.
func (c *contents) dependencies(like map[string][]byte) (text, binary []byte) {
	text = make([]byte, 0, len(like["dep"])+4096)
	entries := make([]entry, len(c.modules))
	for i := range c.modules {
		start := len(text)
		text = append(append(text, c.modules[i].path...), ':')
		for _, d := range c.modules[i].deps {
			text = append(append(text, ' '), c.modules[d].path...)
		}
		entries[i] = entry{key: c.modules[i].name, value: string(text[start:]), priority: uint32(i)}
		text = append(text, '\n')
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return text, buildTrie(entries, c.layout(), len(like["dep.bin"]))
}

func (c *contents) text(head string, of func(*entryOf) string) []byte {
	size := len(head)
	for i := range c.modules {
		size += len(of(&c.modules[i]))
	}
	text := append(make([]byte, 0, size), head...)
	for i := range c.modules {
		text = append(text, of(&c.modules[i])...)
	}
	return text
}

// binary returns the binary index of a list, whose values are module names.
func (c *contents) binary(list []owned, size int) []byte {
	entries := make([]entry, len(list))
	for i, o := range list {
		entries[i] = entry{key: o.key, value: c.modules[o.module].name, priority: uint32(o.module)}
	}
	return buildTrie(entries, c.layout(), size)
}

func (c *contents) symbolLines(size int) []byte {
	text := append(make([]byte, 0, size+4096), symbolHead...)
	for _, s := range c.symbolText {
		text = append(append(text, "alias "...), s.key...)
		text = append(append(text, ' '), c.modules[s.module].name...)
		text = append(text, '\n')
	}
	return text
}

// aliasKey returns the key of an alias in the binary index. ok is false where
// depmod would print a warning.
func aliasKey(alias string) (key string, ok bool) {
	if !strings.ContainsAny(alias, "-[]") {
		return alias, true
	}
	out := []byte(alias)
	for i := 0; i < len(out); i++ {
		switch out[i] {
		case '-':
			out[i] = '_'
		case ']':
			return "", false
		case '[':
			end := bytes.IndexByte(out[i:], ']')
			if end < 0 {
				return "", false
			}
			i += end
		}
	}
	return string(out), true
}
