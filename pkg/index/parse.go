package index

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
)

// parse parses the files into contents.
func (l *loaded) parse() error {
	for name, data := range l.files {
		if !strings.HasSuffix(name, ".bin") && !isASCII(data) {
			return doubt("modules.%s is not all ASCII", name)
		}
	}
	if err := l.parseDep(l.files["dep"]); err != nil {
		return err
	}
	names := l.moduleNames()
	err := together(l.parseSmall, func() error { return l.parseAliases(names) }, func() error { return l.parseSymbols(names) }, l.reduce)
	if err != nil {
		return err
	}
	return l.verifyOrder()
}

// parseSmall parses the files that have a few lines.
func (l *loaded) parseSmall() error {
	for _, p := range []struct {
		name, head, word string
		of               func(*entryOf) *string
	}{
		{"softdep", softdepHead, "softdep ", func(m *entryOf) *string { return &m.softdeps }},
		{"weakdep", weakdepHead, "weakdep ", func(m *entryOf) *string { return &m.weakdeps }},
		{"devname", devnameHead, "", func(m *entryOf) *string { return &m.node }},
	} {
		if err := l.parseLines(p.name, p.head, p.word, p.of); err != nil {
			return err
		}
	}
	return nil
}

// parseDep parses modules.dep: first the names of all modules, then the
// dependencies, which may refer to modules further down.
func (l *loaded) parseDep(text string) error {
	n := strings.Count(text, "\n")
	l.modules = make([]entryOf, 0, n)
	l.byName = make(map[string]int, n)
	byPath := make(map[string]int, n)
	lines, rests := make([]string, 0, n), make([]string, 0, n)
	for line := range strings.Lines(text) {
		line, ended := strings.CutSuffix(line, "\n")
		path, rest, _ := strings.Cut(line, ":")
		name, ok := moduleName(path)
		if !ok || !ended || len(path) == len(line) || path[0] == '/' {
			return doubt("modules.dep has %s", path)
		}
		byPath[path], l.byName[name] = len(l.modules), len(l.modules)
		l.modules = append(l.modules, entryOf{name: name, path: path})
		lines, rests = append(lines, line), append(rests, rest)
	}
	if len(l.byName) != n || n == 0 {
		return doubt("modules.dep has a module twice, or none")
	}
	for i, rest := range rests {
		for rest != "" {
			var path string
			space := rest[0]
			path = rest[1:]
			if end := strings.IndexByte(path, ' '); end >= 0 {
				path = path[:end]
			}
			rest = rest[1+len(path):]
			d, ok := byPath[path]
			if !ok || space != ' ' {
				return doubt("modules.dep has no line for %s", path)
			}
			l.modules[i].deps = append(l.modules[i].deps, d)
		}
	}
	l.names = make([]owned, n)
	for i, m := range l.modules {
		l.names[i] = owned{m.name, i}
	}
	slices.SortFunc(l.names, byKey)
	listed := l.newMembers()
	for i, m := range l.modules {
		listed.add(m.name, i)
	}
	_, err := l.binary("dep.bin", lines, listed)
	return err
}

// binary reads a binary index, which must have the same members as its text. One
// that was proven before is not read.
func (l *loaded) binary(name string, values []string, text *members) ([]owned, error) {
	if text == nil {
		return nil, nil
	}
	list, ok := readTrie(l.files[name], values, l.layout(), text.n)
	read := members{seed: text.seed}
	for _, o := range list {
		read.add(o.key, o.module)
	}
	if !ok || read != *text {
		return nil, doubt("modules.%s is not what depmod makes of the rest of the index", name)
	}
	return list, nil
}

// members adds up the members of a list in any order. Lists of equal sums have
// the same members: the seed is random, so that nobody can make others fit. A nil
// one adds up nothing.
type members struct {
	seed maphash.Seed
	sum  uint64
	n    int
}

// newMembers is nil where a note says that the lists are equal.
func (l *loaded) newMembers() *members {
	if l.noted != nil {
		return nil
	}
	return &members{seed: maphash.MakeSeed()}
}

func (t *members) add(key string, module int) {
	if t != nil {
		t.addHash(maphash.String(t.seed, key), module)
	}
}

func (t *members) addHash(key uint64, module int) {
	high, low := bits.Mul64(key^uint64(module)*0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	t.sum += high ^ low
	t.n++
}

// cursor looks up modules in lines that have the order of modules.dep.
type cursor struct {
	modules []entryOf
	at      int
}

func (c *cursor) find(name string) (int, bool) {
	for ; c.at < len(c.modules); c.at++ {
		if c.modules[c.at].name == name {
			return c.at, true
		}
	}
	return 0, false
}

// parseLines assigns the lines of a file to modules: a line belongs to the
// module whose name is the first word behind word.
func (l *loaded) parseLines(file, head, word string, of func(*entryOf) *string) error {
	text, there := l.files[file]
	if text == "" && (file == "devname" || !there) {
		return nil
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return doubt("modules.%s has an unknown first line", file)
	}
	at := cursor{modules: l.modules}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, word)
		name, _, _ := strings.Cut(rest, " ")
		m, found := at.find(name)
		if !ok || !found || !strings.HasSuffix(line, "\n") {
			return doubt("modules.%s does not fit modules.dep", file)
		}
		*of(&l.modules[m]) += line
	}
	return nil
}

func (l *loaded) parseAliases(names []string) (err error) {
	text, ok := strings.CutPrefix(l.files["alias"], aliasHead)
	if !ok {
		return doubt("modules.alias has an unknown first line")
	}
	listed, buf := l.newMembers(), make([]byte, 0, 1024)
	at, start, end, current := cursor{modules: l.modules}, 0, 0, -1
	for line := range strings.Lines(text) {
		space := strings.LastIndexByte(line, ' ')
		if space < len("alias ") || !strings.HasPrefix(line, "alias ") || !strings.HasSuffix(line, "\n") {
			return doubt("modules.alias has an unknown line")
		}
		m, found := at.find(line[space+1 : len(line)-1])
		if !found {
			return doubt("modules.alias does not fit modules.dep")
		}
		if m != current {
			current, start = m, end
		}
		end += len(line)
		l.modules[m].aliases = text[start:end]
		if listed == nil {
			continue
		}
		if key, ok := appendAliasKey(buf, line[len("alias "):space]); ok {
			listed.addHash(maphash.Bytes(listed.seed, key), m)
		}
	}
	l.aliases, err = l.binary("alias.bin", names, listed)
	return err
}

// readLists reads the binary indexes of aliases and symbols, as far as they are
// needed and were not read before.
func (l *loaded) readLists(aliases, symbols bool) error {
	for _, p := range []struct {
		wanted bool
		name   string
		list   *[]owned
	}{{aliases, "alias.bin", &l.aliases}, {symbols, "symbols.bin", &l.symbols}} {
		if !p.wanted || *p.list != nil {
			continue
		}
		if err := l.read(p.name); err != nil {
			return err
		}
		var ok bool
		if *p.list, ok = readTrie(l.files[p.name], l.moduleNames(), l.layout(), len(l.symbolText)); !ok {
			return doubt("modules.%s is not what depmod makes of the rest of the index", p.name)
		}
	}
	return nil
}

func (l *loaded) parseSymbols(names []string) (err error) {
	text, ok := strings.CutPrefix(l.files["symbols"], symbolHead)
	if !ok {
		return doubt("modules.symbols has an unknown first line")
	}
	listed := l.newMembers()
	l.symbolText = make([]owned, 0, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "alias ")
		key, name, _ := strings.Cut(rest, " ")
		name, ended := strings.CutSuffix(name, "\n")
		m, found := l.byName[name]
		if !ok || !ended || !found || !strings.HasPrefix(key, symbolPrefix) {
			return doubt("modules.symbols does not fit modules.dep")
		}
		l.symbolText = append(l.symbolText, owned{key, m})
		listed.add(key, m)
	}
	l.symbols, err = l.binary("symbols.bin", names, listed)
	return err
}
