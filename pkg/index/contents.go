package index

import (
	"bytes"
	"cmp"
	"strings"
	"sync"
	"unsafe"
)

// contents is the content of an index.
type contents struct {
	depmod  Depmod
	modules []entryOf
	// names, aliases and symbols are sorted by key; symbolText has the symbols
	// in the order of the text file.
	names, aliases, symbols, symbolText []owned
	// keepAliases and keepSymbols say that the files of the old index are right
	// as they are; the lists above are missing then.
	keepAliases, keepSymbols bool
}

// entryOf is the content of the index for one module. Everything except the
// dependencies is kept as lines of the text files.
type entryOf struct {
	name, path                        string
	deps                              []int // in the order of the line
	aliases, softdeps, weakdeps, node string
}

// owned is a name, an alias or a symbol of a module, with the position of the
// module.
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
	kept bool // says that the file is right as it is, and has no data here
}

// render returns the files of an index, in the order in which depmod writes
// them. size tells how long a file was before, which its data will be about.
func (c *contents) render(size func(name string) int) []written {
	alias, aliasBin := written{name: "alias", kept: c.keepAliases}, written{name: "alias.bin", kept: c.keepAliases}
	symbols, symbolBin := written{name: "symbols", kept: c.keepSymbols}, written{name: "symbols.bin", kept: c.keepSymbols}
	dep, depBin := written{name: "dep"}, written{name: "dep.bin"}
	names := c.moduleNames()
	trie := func(to *written, list []owned, values []string) {
		to.data = buildTrie(list, values, c.layout(), size(to.name))
	}
	var others sync.WaitGroup
	others.Go(func() {
		if !c.keepAliases {
			alias.data = c.text(aliasHead, func(m *entryOf) string { return m.aliases })
			trie(&aliasBin, c.aliases, names)
		}
	})
	others.Go(func() {
		if !c.keepSymbols {
			symbols.data = c.symbolLines(size("symbols"))
			trie(&symbolBin, c.symbols, names)
		}
	})
	var lines []string
	dep.data, lines = c.dependencies(size("dep"))
	trie(&depBin, c.names, lines)
	others.Wait()
	list := []written{dep, depBin, alias, aliasBin,
		{name: "softdep", data: c.text(softdepHead, func(m *entryOf) string { return m.softdeps })}}
	if c.depmod.Version >= weakdeps {
		list = append(list, written{name: "weakdep", data: c.text(weakdepHead, func(m *entryOf) string { return m.weakdeps })})
	}
	devname := c.text(devnameHead, func(m *entryOf) string { return m.node })
	if len(devname) == len(devnameHead) {
		devname = nil
	}
	return append(list, symbols, symbolBin, written{name: "devname", data: devname})
}

func (c *contents) layout() layout { return layout(c.depmod.Version >= nodeFirst) }

// moduleNames returns the names of the modules, which are the values of the
// binary indexes except modules.dep.bin.
func (c *contents) moduleNames() []string {
	names := make([]string, len(c.modules))
	for i := range c.modules {
		names[i] = c.modules[i].name
	}
	return names
}

// dependencies returns modules.dep, and its lines, which are the values of
// modules.dep.bin.
func (c *contents) dependencies(size int) ([]byte, []string) {
	text, lines := make([]byte, 0, size+4096), make([]string, len(c.modules))
	for i := range c.modules {
		start := len(text)
		text = append(append(text, c.modules[i].path...), ':')
		for _, d := range c.modules[i].deps {
			text = append(append(text, ' '), c.modules[d].path...)
		}
		lines[i] = asString(text[start:])
		text = append(text, '\n')
	}
	return text, lines
}

// asString returns bytes that nobody changes any more as a string.
func asString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

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
	out, ok := appendAliasKey(nil, alias)
	return string(out), ok
}

// appendAliasKey appends the key of an alias to out.
func appendAliasKey(out []byte, alias string) (_ []byte, ok bool) {
	at := len(out)
	out = append(out, alias...)
	for i := at; i < len(out); i++ {
		switch out[i] {
		case '-':
			out[i] = '_'
		case ']':
			return nil, false
		case '[':
			end := bytes.IndexByte(out[i:], ']')
			if end < 0 {
				return nil, false
			}
			i += end
		}
	}
	return out, true
}
