package module

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// read reads the facts about the uncompressed module r of the given size.
func read(name string, r io.ReaderAt, size int64) (*Info, error) {
	info, err := parse(r, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if info.Name == "" {
		info.Name = nameOf(name)
	}
	return info, nil
}

// nameOf returns the module name that the kernel's build derives from a file
// name.
func nameOf(file string) string {
	name, _, ok := ParseSuffix(file)
	if !ok {
		name = filepath.Base(file)
	}
	return strings.ReplaceAll(name, "-", "_")
}

// openModule opens an uncompressed module and reads its .modinfo section.
func openModule(r io.ReaderAt, size int64) (o *object, modinfo []byte, err error) {
	if o, err = openELF(r, size); err != nil {
		return nil, nil, err
	}
	if modinfo, err = o.section(".modinfo"); err == nil && modinfo == nil {
		err = errors.New("not a kernel module: no .modinfo section")
	}
	return o, modinfo, err
}

func parse(r io.ReaderAt, size int64) (*Info, error) {
	o, modinfo, err := openModule(r, size)
	if err != nil {
		return nil, err
	}
	info := &Info{Machine: o.machine, Class: o.class, Data: o.data, Size: size}
	info.setFields(modinfo)
	if info.Symbols, err = o.versions(); err != nil {
		return nil, err
	}
	info.Signature, err = signatureOf(r, size)
	return info, err
}

// setFields parses the name=value strings of a .modinfo section. The first of
// several values for one name wins, as in the kernel.
func (i *Info) setFields(section []byte) {
	single := map[string]*string{
		"name": &i.Name, "version": &i.Version, "srcversion": &i.SrcVersion,
		"vermagic": &i.Vermagic, "license": &i.License,
	}
	for field := range bytes.SplitSeq(section, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch to := single[key]; {
		case key == "alias":
			i.Aliases = append(i.Aliases, value)
		case key == "depends" && value != "" && i.Depends == nil:
			i.Depends = strings.Split(value, ",")
		case to != nil && *to == "":
			*to = value
		}
	}
}

// versionSize is the size of one record of __versions: a checksum as wide as a
// C long, and a name in the remaining bytes.
const versionSize = 64

// versions reads the checksums of imported symbols from the original section,
// and from the pair of sections that kernels since 6.14 can have for long
// names.
func (o *object) versions() (map[string]uint32, error) {
	classic, err := o.section("__versions")
	if err != nil {
		return nil, err
	}
	crcs, err := o.section("__version_ext_crcs")
	if err != nil {
		return nil, err
	}
	names, err := o.section("__version_ext_names")
	if err != nil {
		return nil, err
	}
	symbols := make(map[string]uint32, len(classic)/versionSize)
	width := 4
	if o.class == elf.ELFCLASS64 {
		width = 8
	}
	for ; len(classic) >= versionSize; classic = classic[versionSize:] {
		name, _, _ := bytes.Cut(classic[width:versionSize], []byte{0})
		if len(name) > 0 {
			symbols[string(name)] = uint32(o.word(classic, width))
		}
	}
	for ; len(crcs) >= 4 && len(names) > 0; crcs = crcs[4:] {
		var name []byte
		name, names, _ = bytes.Cut(names, []byte{0})
		if len(name) > 0 {
			symbols[string(name)] = o.order.Uint32(crcs)
		}
	}
	return symbols, nil
}
