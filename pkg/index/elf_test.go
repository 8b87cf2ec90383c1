package index

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// made is a module made by hand: depmod reads no more of one than this.
type made struct {
	info             []string // of .modinfo
	imports, exports []string
	// crcs has the exports as checksums, as kernels with CONFIG_MODVERSIONS
	// have them, and versions the imports in __versions only.
	crcs, versions bool
}

func (m made) bytes() []byte {
	var strtab, symtab, versions bytes.Buffer
	strtab.WriteByte(0)
	symbol := func(name string, section elf.SectionIndex) {
		binary.Write(&symtab, binary.LittleEndian, elf.Sym64{Name: uint32(strtab.Len()), Info: 0x10, Shndx: uint16(section)})
		strtab.WriteString(name + "\x00")
	}
	symbol("", 0)
	for _, name := range m.imports {
		if !m.versions {
			symbol(name, elf.SHN_UNDEF)
			continue
		}
		var record [64]byte
		copy(record[8:63], name)
		versions.Write(record[:])
	}
	strings := ""
	for _, name := range m.exports {
		symbol(name, 1)
		if m.crcs {
			symbol("__crc_"+name, elf.SHN_ABS)
		}
		strings += name + "\x00"
	}
	return object([]section{
		{".modinfo", elf.SHT_PROGBITS, []byte(join(m.info))},
		{"__ksymtab_strings", elf.SHT_PROGBITS, []byte(strings)},
		{"__versions", elf.SHT_PROGBITS, versions.Bytes()},
		{".symtab", elf.SHT_SYMTAB, symtab.Bytes()},
		{".strtab", elf.SHT_STRTAB, strtab.Bytes()},
	})
}

func join(fields []string) string { return strings.Join(fields, "\x00") + "\x00" }

type section struct {
	name    string
	kind    elf.SectionType
	content []byte
}

// object is an ELF file of sections.
func object(sections []section) []byte {
	var names, body bytes.Buffer
	names.WriteByte(0)
	headers := []elf.Section64{{}}
	add := func(s section) {
		headers = append(headers, elf.Section64{
			Name: uint32(names.Len()), Type: uint32(s.kind), Off: uint64(64 + body.Len()), Size: uint64(len(s.content)), Addralign: 1,
		})
		names.WriteString(s.name + "\x00")
		body.Write(s.content)
	}
	for _, s := range sections {
		add(s)
		if s.kind == elf.SHT_SYMTAB {
			h := &headers[len(headers)-1]
			h.Link, h.Entsize, h.Info = uint32(len(headers)), 24, 1
		}
	}
	names.WriteString(".shstrtab\x00")
	last := section{".shstrtab", elf.SHT_STRTAB, bytes.Clone(names.Bytes())}
	headers = append(headers, elf.Section64{
		Name: uint32(names.Len() - len(".shstrtab\x00")), Type: uint32(last.kind), Off: uint64(64 + body.Len()), Size: uint64(len(last.content)), Addralign: 1,
	})
	body.Write(last.content)
	for body.Len()%8 != 0 {
		body.WriteByte(0)
	}
	head := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: uint64(64 + body.Len()), Ehsize: 64, Shentsize: 64, Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	}
	var out bytes.Buffer
	binary.Write(&out, binary.LittleEndian, head)
	out.Write(body.Bytes())
	binary.Write(&out, binary.LittleEndian, headers)
	return out.Bytes()
}

// put writes a module to a path, compressed as its ending says, the way dkms
// does: a reader sees the old one or the new one.
func put(t testing.TB, path string, data []byte) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	tmp := filepath.Join(filepath.Dir(path), ".dkms-new")
	check(t, os.WriteFile(tmp, compress(t, path, data), 0o644))
	check(t, os.Rename(tmp, path))
}

func compress(t testing.TB, path string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	argv := map[string][]string{
		".xz": {"xz", "-0", "--check=crc32"}, ".zst": {"zstd", "-q", "-c", fmt.Sprintf("--stream-size=%d", len(data))},
	}[filepath.Ext(path)]
	switch {
	case argv != nil:
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin, cmd.Stdout = bytes.NewReader(data), &out
		check(t, cmd.Run())
	case filepath.Ext(path) == ".gz":
		w := gzip.NewWriter(&out)
		w.Write(data)
		check(t, w.Close())
	default:
		return data
	}
	return out.Bytes()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
