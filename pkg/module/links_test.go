package module

import (
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// TestLinksAreThoseOfTheTools has nm and modinfo tell the links of two real
// modules.
func TestLinksAreThoseOfTheTools(t *testing.T) {
	m := buildModules(t)
	need(t, "nm")
	for _, file := range []string{m.first, m.second} {
		l, err := ReadLinks(readFile(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(l.Aliases, "\n"), strings.TrimSpace(output(t, "modinfo", "-F", "alias", file)); got != want {
			t.Errorf("%s: aliases %q; want %q", file, got, want)
		}
		imports := strings.Fields(output(t, "nm", "-u", "-j", file))
		info, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		for name := range info.Symbols { // one is only there
			if !slices.Contains(imports, name) {
				imports = append(imports, name)
			}
		}
		if got := slices.Sorted(slices.Values(l.Imports)); !slices.Equal(got, slices.Sorted(slices.Values(imports))) {
			t.Errorf("%s: imports %q; want %q", file, got, imports)
		}
		var exports []string
		for _, symbol := range strings.Fields(output(t, "nm", "-j", file)) {
			if name, ok := strings.CutPrefix(symbol, "__crc_"); ok {
				exports = append(exports, name)
			}
		}
		if !slices.Equal(l.Exports, exports) {
			t.Errorf("%s: exports %q; want %q", file, l.Exports, exports)
		}
	}
}

func FuzzReadLinks(f *testing.F) {
	for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
		f.Add(fakeELF(class, binary.LittleEndian, elf.ET_REL, []named{
			{".modinfo", []byte("alias=x\x00softdep=pre: y\x00")}, {"__versions", make([]byte, 2*versionSize)},
			{".symtab", make([]byte, 72)}, {".strtab", []byte("\x00__crc_a\x00b\x00")}, {"__ksymtab_strings", []byte("a\x00")},
		}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ReadLinks(data)
		if (l == nil) == (err == nil) {
			t.Fatalf("ReadLinks = %v, %v", l, err)
		}
	})
}
