package module

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/mikelolasagasti/xz"
	"github.com/ulikunitz/xz/lzma"
)

const (
	xzMagic      = "\xfd7zXZ\x00"
	xzHeaderSize = 12
	xzLZMA2      = 0x21
)

// maxDict bounds the memory for a dictionary: twice that of xz -9.
const maxDict = 128 << 20

var errBadXZ = errors.New("damaged xz file")

// unxz decodes all streams.
func unxz(data []byte, limit int) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(data), maxDict)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := readAll(&out, r, limit); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// readAll appends r to buf, which may hold up to limit bytes.
func readAll(buf *bytes.Buffer, r io.Reader, limit int) error {
	left := int64(limit - buf.Len())
	n, err := buf.ReadFrom(io.LimitReader(r, left+1))
	if n > left {
		return errTooBig
	}
	return err
}

// verifyXZ decodes only what the kernel can decode: one stream with CRC32 or no
// check, and no filter but LZMA2.
func verifyXZ(out []byte, size int) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(out), maxDict)
	if err != nil {
		return nil, err
	}
	if r.CheckType != xz.CheckCRC32 && r.CheckType != xz.CheckNone {
		return nil, fmt.Errorf("check %v: the kernel can decode only CRC32", r.CheckType)
	}
	if _, err := firstBlock(out); err != nil {
		return nil, err
	}
	r.Multistream(false)
	var back bytes.Buffer
	if err := readAll(&back, r, size); err != nil {
		return nil, err
	}
	if err := r.Reset(nil); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one stream")
	}
	return back.Bytes(), nil
}

// firstBlock returns the header of the first block, which names the filters of
// the block, or nil where there is no block.
func firstBlock(file []byte) ([]byte, error) {
	if len(file) <= xzHeaderSize || file[xzHeaderSize] == 0 {
		return nil, nil // the file has no block
	}
	h := file[xzHeaderSize:]
	size := (int(h[0]) + 1) * 4
	if size > len(h) || crc32.ChecksumIEEE(h[:size-4]) != binary.LittleEndian.Uint32(h[size-4:]) {
		return nil, errBadXZ
	}
	// The two lowest bits hold the number of filters minus one. The last filter
	// of a valid chain is LZMA2.
	if h[1]&3 != 0 {
		return nil, errors.New("xz file with filters other than LZMA2")
	}
	return h[:size], nil
}

// setDict changes the dictionary size in the header of the first block of file.
// The new dictionary must reach every match in the block. A header that
// contains sizes is left unchanged, because then there are more blocks.
func setDict(file []byte, dict int) error {
	h, err := firstBlock(file)
	if err != nil || h == nil || h[1] != 0 {
		return err
	}
	if h[2] != xzLZMA2 || h[3] != 1 {
		return errBadXZ
	}
	h[4] = lzma.EncodeDictCap(int64(dict)) // behind size, flags, filter and property size
	sum := len(h) - 4
	binary.LittleEndian.PutUint32(h[sum:], crc32.ChecksumIEEE(h[:sum]))
	return nil
}
