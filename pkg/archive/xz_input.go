package archive

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// counter reads xz data, byte by byte where LZMA wants it so, and counts and
// sums it for the parts of the container that want to know.
type counter struct {
	in  *bufio.Reader
	n   int64
	sum uint32 // CRC32 of what was read since it was last set
}

// Read implements [io.Reader].
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadByte implements [io.ByteReader]. It also sums: nothing else reads the
// index, which is all that the sum is for.
func (c *counter) ReadByte() (byte, error) {
	b, err := c.in.ReadByte()
	if err == nil {
		c.n++
		c.sum = crc32.Update(c.sum, crc32.IEEETable, []byte{b})
	}
	return b, err
}

// take reads n bytes.
func (c *counter) take(n int) ([]byte, error) {
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return p, nil
}

// zeros reads n bytes that must be 0.
func (c *counter) zeros(n uint64) error {
	for range n {
		b, err := c.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return errBadXZ
		}
	}
	return nil
}

// noHash is the check of data without one.
type noHash struct{}

func (noHash) Write(p []byte) (int, error) { return len(p), nil }
func (noHash) Sum(b []byte) []byte         { return b }
func (noHash) Reset()                      {}
func (noHash) Size() int                   { return 0 }
func (noHash) BlockSize() int              { return 1 }

// sumOK reports whether b ends in the CRC32 of what is before.
func sumOK(b []byte) bool {
	end := len(b) - 4
	return end >= 0 && crc32.ChecksumIEEE(b[:end]) == binary.LittleEndian.Uint32(b[end:])
}

// pad4 is how many bytes are missing to a multiple of four.
func pad4(n uint64) uint64 { return -n & 3 }
