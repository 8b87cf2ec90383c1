package module

import (
	"bytes"
	"path/filepath"
	"strings"
)

// Compression is how a module file is compressed.
type Compression int

// The compressions that kernels and kmod support.
const (
	None Compression = iota
	Gzip
	XZ
	Zstd
)

// Suffix returns what the compression adds to "name.ko"; empty for None.
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

// String returns the name of the program that compresses so, or "none".
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

// ParseSuffix splits the file name of a module: "foo.ko.xz" is "foo" and XZ. It
// ignores directories before the name. ok is false for every name that does not
// end in .ko, .ko.gz, .ko.xz or .ko.zst.
func ParseSuffix(file string) (name string, c Compression, ok bool) {
	base := filepath.Base(file)
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		if name, found := strings.CutSuffix(base, ".ko"+c.Suffix()); found && name != "" {
			return name, c, true
		}
	}
	return "", None, false
}

// magicLen is how many bytes [Detect] needs to recognise every format.
const magicLen = 6

// Detect recognises the compression of a file by its first bytes, as kmod and
// the kernel do. It ignores the suffix.
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
