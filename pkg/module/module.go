// Package module reads a kernel module file and its signature trailer, and
// strips, compresses and decompresses it.
//
// It guarantees that no file, however damaged, makes it panic or use memory
// without bound, and that a file it compressed stays within the limits of the
// kernel's decoders and decodes to exactly the original bytes.
package module

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSize is the largest uncompressed module that is read.
const maxSize = 512 << 20

var errTooBig = fmt.Errorf("more than %d MiB uncompressed", maxSize>>20)

// Info is what a module file says about itself.
type Info struct {
	// Name is the module's name in .modinfo, or a name derived from the file's
	// where .modinfo has none.
	Name, Version, SrcVersion, Vermagic string
	License                             string
	Aliases, Depends                    []string
	Machine                             elf.Machine
	Class                               elf.Class
	// Data is the byte order.
	Data elf.Data
	// Symbols maps each imported symbol to the checksum that the kernel
	// must export it with. It is empty without CONFIG_MODVERSIONS.
	Symbols map[string]uint32
	// Signature is nil when the module is unsigned.
	Signature *Signature
	// Size is the uncompressed size in bytes, signature included.
	Size int64
}

// Release returns the kernel release that the module was built for: the first
// word of its vermagic.
func (i *Info) Release() string {
	release, _, _ := strings.Cut(i.Vermagic, " ")
	return release
}

// Read reads the facts about the module file path, compressed or not. Of an
// uncompressed file it reads only the parts that matter.
func Read(path string) (*Info, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := detectFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c == None {
		return read(path, f, size)
	}
	data, err := load(f, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return read(path, bytes.NewReader(data), int64(len(data)))
}

// ReadBytes is [Read] for a module in memory, compressed or not. name serves in
// errors, and as the name of a module without one.
func ReadBytes(name string, data []byte) (*Info, error) {
	data, err := Decompress(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return read(name, bytes.NewReader(data), int64(len(data)))
}

// Load returns the decompressed content of the module file path.
func Load(path string) ([]byte, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := load(f, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// Same reports whether two module files contain the same module: whether both
// are equal after decompression and without signatures.
func Same(a, b string) (bool, error) {
	x, err := Load(a)
	if err != nil {
		return false, err
	}
	y, err := Load(b)
	if err != nil {
		return false, err
	}
	return bytes.Equal(unsigned(x), unsigned(y)), nil
}

// unsigned removes every signature; a module that was signed twice has two.
func unsigned(data []byte) []byte {
	for {
		payload, _, ok := CutSignature(data)
		if !ok {
			return data
		}
		data = payload
	}
}

// open opens a regular file of acceptable size. It opens without blocking and
// checks the kind of file afterwards, because a pipe with this name would
// otherwise hang the program.
func open(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err == nil && st.Size() > maxSize {
		err = fmt.Errorf("%s: %w", path, errTooBig)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func detectFile(r io.ReaderAt) (Compression, error) {
	head := make([]byte, magicLen)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return None, err
	}
	return Detect(head[:n]), nil
}

func load(r io.ReaderAt, size int64) ([]byte, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), data); err != nil {
		return nil, err
	}
	return Decompress(data)
}
