package initramfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/ulikunitz/xz/lzma"
)

// counted counts what is read, for the alignment of records, and bounds it.
type counted struct {
	*bufio.Reader
	offset int64
	r      *reading
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.offset += int64(n)
	if c.r.bytes += int64(n); c.r.bytes > maxBytes {
		return n, errTooBig
	}
	return n, err
}

// skip reads over n bytes.
func (c *counted) skip(n int64) error {
	_, err := io.CopyN(io.Discard, c, n)
	return unexpected(err)
}

// align reads up to the next multiple of 4.
func (c *counted) align() error { return c.skip(-c.offset & 3) }

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// image reads an image as the kernel does (Documentation/driver-api/
// early-userspace/buffer-format.rst): any number of cpio archives, with zeros
// between them, and then the rest, compressed. What the rest unpacks to is an
// image, too.
func (r *reading) image(in io.Reader) error { return r.part(in, maxNested) }

// maxNested bounds how often an image may be compressed.
const maxNested = 4

func (r *reading) part(in io.Reader, depth int) error {
	c := &counted{Reader: bufio.NewReaderSize(in, 1<<16), r: r}
	for {
		head, err := c.Peek(6)
		switch {
		case len(head) == 0 && errors.Is(err, io.EOF):
			return nil
		case len(head) > 0 && head[0] == 0:
			if err := c.skip(1); err != nil {
				return err
			}
		case bytes.HasPrefix(head, []byte("070701")), bytes.HasPrefix(head, []byte("070702")):
			if err := r.record(c); err != nil {
				return err
			}
		case depth == 0:
			return errDamaged
		default:
			unpacked, err := unpack(c, head)
			if err != nil {
				return err
			}
			return r.part(unpacked, depth-1)
		}
	}
}

// record reads one record of a cpio archive in the format newc: a header of 110
// bytes with numbers of eight hexadecimal digits, the name and the content, each
// filled up to a multiple of 4 bytes. After the record that ends an archive,
// another archive may follow.
func (r *reading) record(c *counted) error {
	if r.records++; r.records > maxRecords {
		return errTooBig
	}
	var head [110]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return unexpected(err)
	}
	field := func(i int) (int64, error) {
		n, err := strconv.ParseUint(string(head[6+8*i:14+8*i]), 16, 32)
		return int64(n), err
	}
	mode, errMode := field(1)
	size, errSize := field(6)
	length, errLength := field(11)
	if err := errors.Join(errMode, errSize, errLength); err != nil || length < 1 || length > maxName {
		return errDamaged
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(c, name); err != nil {
		return unexpected(err)
	}
	if err := c.align(); err != nil {
		return err
	}
	end := c.offset + size
	if text := strings.TrimRight(string(name), "\x00"); mode&0o170000 == 0o100000 && size > 0 {
		if err := r.take(strings.TrimPrefix(strings.TrimPrefix(text, "."), "/"), c, size); err != nil {
			return unexpected(err)
		}
	}
	if err := c.skip(end - c.offset); err != nil {
		return err
	}
	err := c.align()
	if errors.Is(err, io.ErrUnexpectedEOF) { // the last record need not be filled up
		return nil
	}
	return err
}

// maxName bounds the length of a path, in bytes.
const maxName = 1 << 14

// maxDict bounds the memory of the decoders, in bytes.
const maxDict = 256 << 20

// unpack decompresses the rest of an image, which begins with head.
func unpack(in io.Reader, head []byte) (io.Reader, error) {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(head) > 3 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDict), zstd.WithDecoderMaxWindow(maxDict))
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return xz.NewReader(in, maxDict)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(in), nil
	case bytes.HasPrefix(head, []byte{0x5d, 0, 0}):
		return lzma.ReaderConfig{DictCap: maxDict}.NewReader(in)
	case bytes.HasPrefix(head, lz4Magic):
		return &lz4Reader{in: in}, nil
	case bytes.HasPrefix(head, []byte{0x89, 'L', 'Z', 'O'}):
		return nil, errors.New("compressed by lzop, which this program cannot read")
	}
	return nil, fmt.Errorf("%w, or compressed in a way that this program does not know", errDamaged)
}
