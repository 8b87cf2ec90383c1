package module

import (
	"bytes"
	"debug/elf"
	"strings"
)

// Links are the facts about a module that the module index of a kernel holds:
// its aliases, and its dependencies on other modules. The order is that of the
// file.
type Links struct {
	Aliases, Softdeps, Weakdeps []string
	// Imports are the symbols that other modules or the kernel must provide,
	// Exports those that the module provides.
	Imports, Exports []string
}

// ReadLinks reads the links of an uncompressed module.
func ReadLinks(data []byte) (*Links, error) {
	o, modinfo, err := openModule(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	l := &Links{}
	for field := range bytes.SplitSeq(modinfo, []byte{0}) {
		switch key, value, _ := strings.Cut(string(field), "="); key {
		case "alias":
			l.Aliases = append(l.Aliases, value)
		case "softdep":
			l.Softdeps = append(l.Softdeps, value)
		case "weakdep":
			l.Weakdeps = append(l.Weakdeps, value)
		}
	}
	if err := o.symbols(l); err != nil {
		return nil, err
	}
	return l, nil
}

// crcPrefix begins the name of the symbol that holds the checksum of an
// exported symbol.
const crcPrefix = "__crc_"

// symbols reads imports and exports as depmod does. Imports are the undefined
// symbols, followed by those that only __versions names. Exports are the
// symbols with a checksum; if no symbol has one, they are all strings of the
// kernel's symbol table, including the names of namespaces.
func (o *object) symbols(l *Links) error {
	table, err := o.section(".symtab")
	if err != nil {
		return err
	}
	text, err := o.section(".strtab")
	if err != nil {
		return err
	}
	size, shndx := 24, 6
	if o.class == elf.ELFCLASS32 {
		size, shndx = 16, 14
	}
	seen := map[string]bool{}
	for i := size; i+size <= len(table); i += size { // the first symbol is always empty
		entry := table[i:]
		name := stringAt(text, o.order.Uint32(entry))
		if exported, ok := strings.CutPrefix(name, crcPrefix); ok {
			l.Exports = append(l.Exports, exported)
		}
		if name != "" && elf.SectionIndex(o.order.Uint16(entry[shndx:])) == elf.SHN_UNDEF {
			l.addImport(seen, name)
		}
	}
	if err := o.versionImports(l, seen); err != nil || l.Exports != nil {
		return err
	}
	names, err := o.section("__ksymtab_strings")
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) > 0 {
			l.Exports = append(l.Exports, string(name))
		}
	}
	return err
}

// versionImports adds the imports that only the checksums name.
func (o *object) versionImports(l *Links, seen map[string]bool) error {
	versions, err := o.section("__versions")
	if err != nil {
		return err
	}
	width := 4
	if o.class == elf.ELFCLASS64 {
		width = 8
	}
	for ; len(versions) >= versionSize; versions = versions[versionSize:] {
		l.addImport(seen, stringAt(versions[width:versionSize], 0))
	}
	return nil
}

// addImport adds a name once, without the leading dot of some architectures.
func (l *Links) addImport(seen map[string]bool, name string) {
	name = strings.TrimPrefix(name, ".")
	if name != "" && !seen[name] {
		seen[name] = true
		l.Imports = append(l.Imports, name)
	}
}

func stringAt(table []byte, at uint32) string {
	if uint64(at) >= uint64(len(table)) {
		return ""
	}
	s, _, _ := bytes.Cut(table[at:], []byte{0})
	return string(s)
}
