package module

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fields lets modinfo tell the values of a field.
func fields(t testing.TB, path, name string) []string {
	t.Helper()
	return slices.DeleteFunc(strings.Split(output(t, "modinfo", "-F", name, path), "\n"), func(s string) bool { return s == "" })
}

// field is the first of them.
func field(t testing.TB, path, name string) string {
	t.Helper()
	if f := fields(t, path, name); len(f) > 0 {
		return f[0]
	}
	return ""
}

// checkInfo compares every field with what modinfo and modprobe say.
func checkInfo(t *testing.T, path string, info *Info) {
	t.Helper()
	for name, got := range map[string]string{
		"name": info.Name, "version": info.Version, "srcversion": info.SrcVersion,
		"vermagic": info.Vermagic, "license": info.License, "depends": strings.Join(info.Depends, ","),
	} {
		if want := field(t, path, name); got != want {
			t.Errorf("Read(%s): %s = %q; want %q", path, name, got, want)
		}
	}
	if want := fields(t, path, "alias"); !slices.Equal(info.Aliases, want) {
		t.Errorf("Read(%s): aliases = %q; want %q", path, info.Aliases, want)
	}
	want := map[string]uint32{}
	for line := range strings.Lines(output(t, "modprobe", "--dump-modversions", path)) {
		var crc uint32
		var name string
		if _, err := fmt.Sscanf(line, "0x%x %s", &crc, &name); err != nil {
			t.Fatalf("modprobe: %q: %v", line, err)
		}
		want[name] = crc
	}
	if !maps.Equal(info.Symbols, want) {
		t.Errorf("Read(%s): symbols = %v; want %v", path, info.Symbols, want)
	}
	if len(want) == 0 {
		t.Errorf("modprobe found no versions in %s: nothing was compared", path)
	}
}

func TestReadAgainstModinfo(t *testing.T) {
	m := buildModules(t)
	need(t, "modprobe")
	for _, path := range []string{m.first, m.second} {
		info, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		checkInfo(t, path, info)
		if info.Release() != m.release {
			t.Errorf("Release() = %q; want %q", info.Release(), m.release)
		}
		data := readFile(t, path)
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if info.Machine != f.Machine || info.Class != f.Class || info.Size != int64(len(data)) || info.Signature != nil {
			t.Errorf("Read(%s) = %+v", path, info)
		}
	}
	info, err := Read(m.second)
	if err != nil || !slices.Equal(info.Depends, []string{"judge-first"}) {
		t.Errorf("depends = %v, %v; want judge-first", info.Depends, err)
	}
}

// TestReadCompressed wants the same from every form that kmod can read.
func TestReadCompressed(t *testing.T) {
	m := buildModules(t)
	need(t, "depmod")
	plain := readFile(t, m.first)
	want, err := Read(m.first)
	if err != nil {
		t.Fatal(err)
	}
	features := output(t, "modinfo", "--version")
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		packed, err := Compress(t.Context(), nil, c, Options{}, plain)
		if err != nil {
			t.Fatal(err)
		}
		base := t.TempDir()
		tree := filepath.Join(base, "lib/modules", m.release)
		if err := os.MkdirAll(filepath.Join(tree, "updates"), 0o755); err != nil {
			t.Fatal(err)
		}
		path := writeFile(t, filepath.Join(tree, "updates/judge-first.ko"+c.Suffix()), packed)
		got, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("Read(%s) = %+v; want %+v", path, got, want)
		}
		if same, err := Same(path, m.first); !same || err != nil {
			t.Errorf("Same(%s, %s) = %v, %v; want true", path, m.first, same, err)
		}
		if c == Gzip && !strings.Contains(features, "+ZLIB") {
			continue // this kmod cannot read it
		}
		if v := field(t, path, "version"); v != want.Version {
			t.Errorf("modinfo -F version %s = %q; want %q", path, v, want.Version)
		}
		output(t, "depmod", "-b", base, m.release)
		if dep := readFile(t, filepath.Join(tree, "modules.dep")); !strings.Contains(string(dep), "judge-first.ko"+c.Suffix()+":") {
			t.Errorf("modules.dep = %q; want judge-first in it", dep)
		}
		if al := readFile(t, filepath.Join(tree, "modules.alias")); !strings.Contains(string(al), "judge") {
			t.Errorf("depmod read no alias from %s: %q", path, al)
		}
	}
}

func TestSame(t *testing.T) {
	dir := t.TempDir()
	a := writeFile(t, filepath.Join(dir, "a"), []byte("content"))
	twice := AppendSignature(AppendSignature([]byte("content"), []byte("one")), []byte("two"))
	b := writeFile(t, filepath.Join(dir, "b"), twice)
	c := writeFile(t, filepath.Join(dir, "c"), []byte("Content"))
	for _, test := range []struct {
		a, b string
		want bool
	}{{a, b, true}, {b, a, true}, {a, c, false}, {a, a, true}} {
		if got, err := Same(test.a, test.b); got != test.want || err != nil {
			t.Errorf("Same(%s, %s) = %v, %v; want %v", test.a, test.b, got, err, test.want)
		}
	}
	if _, err := Same(a, filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("Same with a missing file: %v", err)
	}
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	huge := writeFile(t, filepath.Join(dir, "huge"), nil)
	if err := os.Truncate(huge, maxSize+1); err != nil {
		t.Fatal(err)
	}
	elf64 := fakeELF(elf.ELFCLASS64, binary.LittleEndian, elf.ET_REL, nil)
	for name, test := range map[string]struct {
		path, want string
	}{
		"missing":    {filepath.Join(dir, "none"), "no such file"},
		"pipe":       {fifo, "not a regular file"},
		"directory":  {dir, "not a regular file"},
		"huge":       {huge, "more than 512 MiB"},
		"empty":      {writeFile(t, filepath.Join(dir, "empty"), nil), "not an ELF file"},
		"text":       {writeFile(t, filepath.Join(dir, "text"), []byte("just some text, long enough")), "not an ELF file"},
		"no modinfo": {writeFile(t, filepath.Join(dir, "nomodinfo"), elf64), "no .modinfo section"},
		"program":    {"/proc/self/exe", "not a relocatable"},
		"cut":        {writeFile(t, filepath.Join(dir, "cut"), elf64[:len(elf64)-8]), "outside the file"},
		"bad gzip":   {writeFile(t, filepath.Join(dir, "gz"), []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}), "EOF"},
	} {
		_, err := Read(test.path)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: Read(%s): %v; want %q and the path", name, test.path, err, test.want)
		}
	}
}

// named is a section of [fakeELF].
type named struct {
	name string
	data []byte
}

// fakeELF is an object file with the given sections and the two that every
// object has.
func fakeELF(class elf.Class, order binary.AppendByteOrder, kind elf.Type, sections []named) []byte {
	l, _ := layoutOf(class)
	word := func(b []byte, v int) []byte {
		if l.w == 4 {
			return order.AppendUint32(b, uint32(v))
		}
		return order.AppendUint64(b, uint64(v))
	}
	strtab := []byte{0}
	body := make([]byte, l.header)
	headers := make([]byte, l.entry)
	add := func(kind elf.SectionType, data []byte) {
		h := order.AppendUint32(nil, uint32(len(strtab)))
		h = order.AppendUint32(h, uint32(kind))
		h = word(word(h, 0), 0) // flags, address
		h = word(word(h, len(body)), len(data))
		headers = append(headers, append(h, make([]byte, l.entry-len(h))...)...)
		body = append(body, data...)
	}
	for _, s := range sections {
		add(elf.SHT_PROGBITS, s.data)
		strtab = append(strtab, s.name+"\x00"...)
	}
	add(elf.SHT_STRTAB, append(bytes.Clone(strtab), ".shstrtab\x00"...))

	h := append([]byte(elf.ELFMAG), byte(class), byte(elf.ELFDATA2LSB), 1)
	if order.String() == binary.BigEndian.String() {
		h[elf.EI_DATA] = byte(elf.ELFDATA2MSB)
	}
	h = append(h, make([]byte, elf.EI_NIDENT-len(h))...)
	h = order.AppendUint16(h, uint16(kind))
	h = order.AppendUint16(h, uint16(elf.EM_PPC64))
	h = order.AppendUint32(h, 1)
	h = word(word(word(h, 0), 0), len(body)) // entry, program headers, section headers
	h = append(h, make([]byte, l.shentsize-len(h))...)
	h = order.AppendUint16(h, uint16(l.entry))
	h = order.AppendUint16(h, uint16(len(headers)/l.entry))
	h = order.AppendUint16(h, uint16(len(headers)/l.entry-1))
	copy(body, h)
	return append(body, headers...)
}

// TestVersions reads both forms of symbol versions in all four ELF shapes.
func TestVersions(t *testing.T) {
	for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			var rec []byte
			if class == elf.ELFCLASS64 {
				rec = order.AppendUint64(nil, 0xcafe0001)
			} else {
				rec = order.AppendUint32(nil, 0xcafe0001)
			}
			rec = append(rec, "short_name"...)
			rec = append(rec, make([]byte, versionSize-len(rec))...)
			long := strings.Repeat("long", 40)
			crcs := order.AppendUint32(order.AppendUint32(nil, 0xcafe0001), 0xbeef0002)
			data := fakeELF(class, order, elf.ET_REL, []named{
				{".modinfo", []byte("license=GPL\x00\x00depends=a,b-c\x00vermagic=6.14.0 SMP \x00license=other\x00noequals")},
				{"__versions", append(rec, "left over"...)},
				{"__version_ext_crcs", crcs},
				{"__version_ext_names", []byte("short_name\x00" + long + "\x00")},
			})
			if _, err := elf.NewFile(bytes.NewReader(data)); err != nil {
				t.Fatalf("%v %v: the test's file is no ELF: %v", class, order, err)
			}
			info, err := ReadBytes("dir/a-b.ko", data)
			if err != nil {
				t.Fatalf("%v %v: %v", class, order, err)
			}
			want := map[string]uint32{"short_name": 0xcafe0001, long: 0xbeef0002}
			if !maps.Equal(info.Symbols, want) {
				t.Errorf("%v %v: symbols = %x; want %x", class, order, info.Symbols, want)
			}
			if info.Name != "a_b" || info.License != "GPL" || info.Release() != "6.14.0" || info.Class != class ||
				info.Machine != elf.EM_PPC64 || (info.Data == elf.ELFDATA2MSB) != (order == binary.BigEndian) || !slices.Equal(info.Depends, []string{"a", "b-c"}) {
				t.Errorf("%v %v: %+v", class, order, info)
			}
		}
	}
}

func TestParseSuffix(t *testing.T) {
	for file, want := range map[string]struct {
		name string
		c    Compression
		ok   bool
	}{
		"foo.ko":         {"foo", None, true},
		"foo.ko.gz":      {"foo", Gzip, true},
		"/a/foo.ko.xz":   {"foo", XZ, true},
		"a.b-c.ko.zst":   {"a.b-c", Zstd, true},
		"foo.ko.ko":      {"foo.ko", None, true},
		".ko":            {},
		"dir/.ko.xz":     {},
		"foo":            {},
		"foo.ko.bz2":     {},
		"foo.o":          {},
		"foo.ko.xz.orig": {},
		"":               {},
	} {
		name, c, ok := ParseSuffix(file)
		if name != want.name || c != want.c || ok != want.ok {
			t.Errorf("ParseSuffix(%q) = %q, %v, %v; want %v", file, name, c, ok, want)
		}
		if ok && filepath.Base(file) != name+".ko"+c.Suffix() {
			t.Errorf("ParseSuffix(%q) and Suffix disagree", file)
		}
	}
}

func TestStrip(t *testing.T) {
	m := buildModules(t)
	for _, program := range []string{"strip", "llvm-strip"} {
		t.Run(program, func(t *testing.T) {
			need(t, program)
			path := writeFile(t, filepath.Join(t.TempDir(), "judge-first.ko"), readFile(t, m.first))
			want := writeFile(t, filepath.Join(t.TempDir(), "judge-first.ko"), readFile(t, m.first))
			if err := Strip(t.Context(), runner(), program, path, nil); err != nil {
				t.Fatal(err)
			}
			output(t, program, "-g", want)
			if !bytes.Equal(readFile(t, path), readFile(t, want)) {
				t.Errorf("Strip differs from %s -g", program)
			}
			before, after := readFile(t, m.first), readFile(t, path)
			if len(after) >= len(before) || bytes.Contains(after, []byte(".debug_info\x00")) {
				t.Errorf("%d bytes, stripped %d; want less and no debug information", len(before), len(after))
			}
			info, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			checkInfo(t, path, info)
		})
	}
	need(t, "strip")
	text := writeFile(t, filepath.Join(t.TempDir(), "text.ko"), []byte("text"))
	if err := Strip(t.Context(), runner(), "strip", text, nil); err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("Strip of a text: %v; want an error with the path", err)
	}
}

func FuzzReadBytes(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
		f.Add(fakeELF(class, binary.LittleEndian, elf.ET_REL, []named{
			{".modinfo", []byte("name=x\x00alias=y\x00")}, {"__versions", make([]byte, 2*versionSize)},
		}))
	}
	f.Add(AppendSignature(fakeELF(elf.ELFCLASS64, binary.BigEndian, elf.ET_REL, []named{{".modinfo", []byte("a=b")}}), []byte{0x30, 0}))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := ReadBytes("fuzz.ko", data)
		if (info == nil) == (err == nil) {
			t.Fatalf("ReadBytes = %v, %v", info, err)
		}
		if err == nil && Detect(data) == None && info.Size != int64(len(data)) {
			t.Fatalf("size = %d; want %d", info.Size, len(data))
		}
	})
}
