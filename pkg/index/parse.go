package index

import (
	"slices"
	"strings"
)

// parse parses the files into contents.
func (l *loaded) parse() error {
	for name, data := range l.files {
		if !strings.HasSuffix(name, ".bin") && !isASCII(string(data)) {
			return doubt("modules.%s is not all ASCII", name)
		}
	}
	if err := l.parseDep(string(l.files["dep"])); err != nil {
		return err
	}
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
	if err := l.parseAliases(string(l.files["alias"])); err != nil {
		return err
	}
	return l.parseSymbols(string(l.files["symbols"]))
}

// parseDep parses modules.dep: first the names of all modules, then the
// dependencies, which may refer to modules further down.
func (l *loaded) parseDep(text string) error {
	n := strings.Count(text, "\n")
	l.modules = make([]entryOf, 0, n)
	l.byName = make(map[string]int, n)
	byPath := make(map[string]int, n)
	rests := make([]string, 0, n)
	for line := range strings.Lines(text) {
		path, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		name, ok := moduleName(path)
		if !ok || path[0] == '/' {
			return doubt("modules.dep has %s", path)
		}
		byPath[path], l.byName[name] = len(l.modules), len(l.modules)
		l.modules = append(l.modules, entryOf{name: name, path: path})
		rests = append(rests, rest)
	}
	if len(l.byName) != n || n == 0 {
		return doubt("modules.dep has a module twice, or none")
	}
	for i, rest := range rests {
		for rest != "" {
			var path string
			path, rest, _ = strings.Cut(rest[1:], " ")
			if rest != "" {
				rest = " " + rest
			}
			d, ok := byPath[path]
			if !ok {
				return doubt("modules.dep has no line for %s", path)
			}
			l.modules[i].deps = append(l.modules[i].deps, d)
		}
	}
	return nil
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
	text := string(l.files[file])
	if text == "" && (file == "devname" || l.files[file] == nil) {
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
		if !ok || !found {
			return doubt("modules.%s does not fit modules.dep", file)
		}
		*of(&l.modules[m]) += line
	}
	return nil
}

func (l *loaded) parseAliases(text string) error {
	text, ok := strings.CutPrefix(text, aliasHead)
	if !ok {
		return doubt("modules.alias has an unknown first line")
	}
	l.aliases = make([]owned, 0, strings.Count(text, "\n"))
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
		if key, ok := aliasKey(line[len("alias "):space]); ok {
			l.aliases = append(l.aliases, owned{key, m})
		}
	}
	slices.SortFunc(l.aliases, byKey)
	return nil
}

func (l *loaded) parseSymbols(text string) error {
	text, ok := strings.CutPrefix(text, symbolHead)
	if !ok {
		return doubt("modules.symbols has an unknown first line")
	}
	l.symbolText = make([]owned, 0, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "alias ")
		key, name, _ := strings.Cut(rest, " ")
		m, found := l.byName[strings.TrimSuffix(name, "\n")]
		if !ok || !found || !strings.HasPrefix(key, symbolPrefix) {
			return doubt("modules.symbols does not fit modules.dep")
		}
		l.symbolText = append(l.symbolText, owned{key, m})
	}
	l.symbols = slices.SortedFunc(slices.Values(l.symbolText), byKey)
	return nil
}
