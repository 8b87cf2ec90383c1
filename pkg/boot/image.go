package boot

import (
	"bytes"
	"cmp"
	"debug/pe"
	"encoding/binary"
	"io"
	"strings"

	"dkms/pkg/system"
)

// imageRelease returns the release that an image contains: in the header of x86
// (Documentation/arch/x86/boot.rst, kernel_version), or in the .uname section
// of a unified kernel image. It returns "" for all other images.
func imageRelease(path string) string {
	f, _, err := system.OpenRegular(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if r := x86Release(f); r != "" {
		return r
	}
	return unifiedRelease(f)
}

const (
	x86Magic   = 0x202 // offset of "HdrS"
	x86Version = 0x20e // offset of a pointer to the text, relative to 0x200
)

func x86Release(r io.ReaderAt) string {
	var head [0x210]byte
	if _, err := r.ReadAt(head[:], 0); err != nil || string(head[x86Magic:x86Magic+4]) != "HdrS" {
		return ""
	}
	text := make([]byte, 256)
	n, _ := r.ReadAt(text, int64(binary.LittleEndian.Uint16(head[x86Version:]))+0x200)
	return firstWord(text[:n])
}

func unifiedRelease(r io.ReaderAt) string { return firstWord([]byte(section(r, ".uname", 256))) }

// firstWord returns the first word of a text, which may end at a NUL, if the
// word can be a release.
func firstWord(text []byte) string {
	text, _, _ = bytes.Cut(text, []byte{0})
	fields := strings.Fields(string(text))
	if len(fields) == 0 || !system.PlainName(fields[0]) {
		return ""
	}
	return fields[0]
}

// unified derives an entry from a unified kernel image: from the sections
// .osrel and .uname.
func unified(path string) entry {
	e := entry{image: path, left: -1}
	f, _, err := system.OpenRegular(path)
	if err != nil {
		return e
	}
	defer f.Close()
	e.version = unifiedRelease(f)
	release := system.EnvMap(strings.Split(section(f, ".osrel", maxWord), "\n"))
	for name, value := range release {
		release[name] = strings.Trim(value, `"'`)
	}
	e.title, e.sortKey = release["PRETTY_NAME"], cmp.Or(release["IMAGE_ID"], release["ID"])
	return e
}

// section returns the text of a section of a PE file, without padding.
func section(r io.ReaderAt, name string, limit uint32) string {
	var magic [2]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil || string(magic[:]) != "MZ" {
		return ""
	}
	file, err := pe.NewFile(r)
	if err != nil {
		return ""
	}
	for _, s := range file.Sections {
		if s.Name == name {
			text := make([]byte, min(s.VirtualSize, s.Size, limit))
			n, _ := s.ReadAt(text, 0)
			text, _, _ = bytes.Cut(text[:n], []byte{0})
			return string(text)
		}
	}
	return ""
}
