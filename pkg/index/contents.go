package index

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// contents is what an index says.
type contents struct {
	depmod  Depmod
	modules []entryOf
	// aliases are sorted by their key, symbols by their name as well as in
	// the order of the text.
	aliases, symbols, symbolText []owned
}

// entryOf is what the index says of one module. All but the dependencies is
// kept as the lines of the text files.
type entryOf struct {
	name, path                        string
	deps                              []int // in the order of the line
	aliases, softdeps, weakdeps, node string
}

// owned is an alias or a symbol, and the place of the module that has it.
type owned struct {
	key    string
	module int
}

func byKey(a, b owned) int {
	return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.module, b.module))
}

// symbolPrefix begins the aliases that symbols are.
const symbolPrefix = "symbol:"

// The first lines of the text files.
const (
	aliasHead   = "# Aliases extracted from modules themselves.\n"
	softdepHead = "# Soft dependencies extracted from modules themselves.\n"
	weakdepHead = "# Weak dependencies extracted from modules themselves.\n"
	symbolHead  = "# Aliases for symbols, used by symbol_request().\n"
	devnameHead = "# Device nodes to trigger on-demand module loading.\n"
)

// written is a file of an index.
type written struct {
	name string // behind "modules."
	data []byte
}

// render makes the files of an index, in the order in which depmod writes
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

// dependencies are modules.dep and its binary form, whose values are its lines.
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

// binary is the index of some names, whose values are the modules.
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

// aliasKey is an alias as the binary index has it. It is not ok where depmod
// would complain.
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
