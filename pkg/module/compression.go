package module

import (
	"bytes"
	"path/filepath"
	"strings"
)

// Compression is how a module file is compressed.
type Compression int

// The compressions that kernels and kmod know.
const (
	None Compression = iota
	Gzip
	XZ
	Zstd
)

// Suffix is what the compression adds to "name.ko"; empty for None.
func (c Compression) Suffix() string {
	switch c {
	case Gzip:
		return ".gz"
	case XZ:
		return ".xz"
	case Zstd:
		return ".zst"
	default:
		return ""
	}
}

// String is the name of the program that makes it, or "none".
func (c Compression) String() string {
	switch c {
	case Gzip:
		return "gzip"
	case XZ:
		return "xz"
	case Zstd:
		return "zstd"
	default:
		return "none"
	}
}

// ParseSuffix takes the file name of a module apart: "foo.ko.xz" is "foo" and
// XZ. Directories before the name are ignored; ok is false for every name that
// does not end in .ko, .ko.gz, .ko.xz or .ko.zst.
func ParseSuffix(file string) (name string, c Compression, ok bool) {
	base := filepath.Base(file)
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		if name, found := strings.CutSuffix(base, ".ko"+c.Suffix()); found && name != "" {
			return name, c, true
		}
	}
	return "", None, false
}

// magicLen is how many bytes [Detect] needs to tell every format.
const magicLen = 6

// Detect tells the compression of a file by its first bytes, as kmod and the
// kernel do. The suffix plays no part.
func Detect(head []byte) Compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte(xzMagic)):
		return XZ
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	default:
		return None
	}
}
