package module

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// object gives access to the sections of a relocatable ELF file by name.
// [elf.NewFile] is not used, because it allocates an object for every section
// and inflates a compressed string table of any size.
type object struct {
	r       io.ReaderAt
	size    int64
	order   binary.ByteOrder
	class   elf.Class
	data    elf.Data
	machine elf.Machine
	headers []byte // the section header table
	names   []byte // the string table of section names
}

// layout holds the places of the needed fields in one of the two ELF classes.
type layout struct {
	header, entry                 int // sizes of the file header and of a section header
	shoff, shentsize              int // in the file header; shnum and shstrndx follow shentsize
	sectionOffset, sectionSize, w int // in a section header; w is the width of these two
}

func layoutOf(class elf.Class) (layout, bool) {
	switch class {
	case elf.ELFCLASS64:
		return layout{header: 64, entry: 64, shoff: 40, shentsize: 58, sectionOffset: 24, sectionSize: 32, w: 8}, true
	case elf.ELFCLASS32:
		return layout{header: 52, entry: 40, shoff: 32, shentsize: 46, sectionOffset: 16, sectionSize: 20, w: 4}, true
	default:
		return layout{}, false
	}
}

var (
	errNoELF  = errors.New("not an ELF file")
	errBadELF = errors.New("damaged ELF file: a part lies outside the file")
)

// openELF reads the section headers and the names of the sections.
func openELF(r io.ReaderAt, size int64) (*object, error) {
	o := &object{r: r, size: size}
	ident, err := o.read(0, elf.EI_NIDENT)
	if err != nil || !bytes.HasPrefix(ident, []byte(elf.ELFMAG)) {
		return nil, errNoELF
	}
	o.class = elf.Class(ident[elf.EI_CLASS])
	l, ok := layoutOf(o.class)
	o.data = elf.Data(ident[elf.EI_DATA])
	switch {
	case !ok:
		return nil, fmt.Errorf("unknown ELF class %d", o.class)
	case o.data == elf.ELFDATA2LSB:
		o.order = binary.LittleEndian
	case o.data == elf.ELFDATA2MSB:
		o.order = binary.BigEndian
	default:
		return nil, fmt.Errorf("unknown ELF byte order %d", o.data)
	}
	head, err := o.read(0, uint64(l.header))
	if err != nil {
		return nil, err
	}
	if kind := elf.Type(o.order.Uint16(head[16:])); kind != elf.ET_REL {
		return nil, fmt.Errorf("not a relocatable ELF file but %v", kind)
	}
	o.machine = elf.Machine(o.order.Uint16(head[18:]))
	return o, o.readTable(head, l)
}

// readTable reads the section headers. Like the kernel, it requires headers of
// the standard size, and no more of them than the file header can count.
func (o *object) readTable(head []byte, l layout) error {
	entry := int(o.order.Uint16(head[l.shentsize:]))
	count := int(o.order.Uint16(head[l.shentsize+2:]))
	strings := int(o.order.Uint16(head[l.shentsize+4:]))
	if count == 0 || strings >= count || entry != l.entry {
		return errors.New("damaged ELF file: no usable section headers")
	}
	var err error
	if o.headers, err = o.read(o.word(head[l.shoff:], l.w), uint64(count*entry)); err != nil {
		return err
	}
	o.names, err = o.content(o.headers[strings*entry:], l)
	return err
}

// section returns the content of the first section called name, or nil.
func (o *object) section(name string) ([]byte, error) {
	l, _ := layoutOf(o.class)
	for h := o.headers; len(h) > 0; h = h[l.entry:] {
		at := o.order.Uint32(h)
		if uint64(at) >= uint64(len(o.names)) {
			continue
		}
		rest, found := bytes.CutPrefix(o.names[at:], []byte(name))
		if found && len(rest) > 0 && rest[0] == 0 {
			return o.content(h, l)
		}
	}
	return nil, nil
}

func (o *object) content(header []byte, l layout) ([]byte, error) {
	if elf.SectionType(o.order.Uint32(header[4:])) == elf.SHT_NOBITS {
		return nil, nil
	}
	return o.read(o.word(header[l.sectionOffset:], l.w), o.word(header[l.sectionSize:], l.w))
}

func (o *object) word(b []byte, width int) uint64 {
	if width == 4 {
		return uint64(o.order.Uint32(b))
	}
	return o.order.Uint64(b)
}

// read returns n bytes at off. It never allocates more than the file holds.
func (o *object) read(off, n uint64) ([]byte, error) {
	size := uint64(o.size)
	if off > size || n > size-off {
		return nil, errBadELF
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(o.r, int64(off), int64(n)), b); err != nil {
		return nil, err
	}
	return b, nil
}
