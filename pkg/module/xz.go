package module

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The container format of xz is read here and only LZMA2 is left to the
// library: its own reader believes the size of the dictionary, 4 GiB at most,
// and does not tell what the kernel wants to know (check, filters).

const (
	xzMagic      = "\xfd7zXZ\x00"
	xzHeaderSize = 12
	xzFooterSize = 12
	xzLZMA2      = 0x21

	xzNoCheck = 0
	xzCRC32   = 1
	xzCRC64   = 4
	xzSHA256  = 10
)

// maxDict bounds the memory for one dictionary: that of xz -9. maxDicts bounds
// what all dictionaries of a file take, one after the other.
const (
	maxDict  = 64 << 20
	maxDicts = 16 << 30
)

var errBadXZ = errors.New("damaged xz file")

// xzReader decodes an xz file and notes what it is made of.
type xzReader struct {
	in     []byte // what is not read yet
	out    bytes.Buffer
	limit  int // of out
	budget int64

	streams int
	check   byte  // the check of the last stream
	dict    int64 // the largest dictionary
}

// xzRecord is what the index says of a block.
type xzRecord struct{ unpadded, size uint64 }

func unxz(data []byte, limit int) (*xzReader, error) {
	x := &xzReader{in: data, limit: limit, budget: maxDicts}
	for len(x.in) > 0 {
		if x.streams > 0 && bytes.HasPrefix(x.in, make([]byte, 4)) {
			x.in = x.in[4:] // padding between streams
			continue
		}
		if err := x.stream(); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// take returns the next n bytes, or nil when there are fewer.
func (x *xzReader) take(n uint64) []byte {
	if n > uint64(len(x.in)) {
		return nil
	}
	b := x.in[:n:n]
	x.in = x.in[n:]
	return b
}

func (x *xzReader) stream() error {
	head := x.take(xzHeaderSize)
	if head == nil || string(head[:6]) != xzMagic || !sumOK(head[6:]) || head[6] != 0 || head[7] > 15 {
		return errBadXZ
	}
	x.streams++
	x.check = head[7]
	if _, ok := checkSize(x.check); !ok {
		return fmt.Errorf("xz check %d is unknown", x.check)
	}
	var blocks []xzRecord
	for {
		if len(x.in) == 0 {
			return errBadXZ
		}
		if x.in[0] == 0 {
			break
		}
		b, err := x.block()
		if err != nil {
			return err
		}
		blocks = append(blocks, b)
	}
	return x.tail(head[6:8], blocks)
}

// tail reads index and footer and holds them against the blocks.
func (x *xzReader) tail(flags []byte, blocks []xzRecord) error {
	index := x.in
	x.in = x.in[1:]
	if n, ok := x.uvarint(); !ok || n != uint64(len(blocks)) {
		return errBadXZ
	}
	for _, b := range blocks {
		unpadded, ok1 := x.uvarint()
		size, ok2 := x.uvarint()
		if !ok1 || !ok2 || b != (xzRecord{unpadded, size}) {
			return errBadXZ
		}
	}
	used := uint64(len(index) - len(x.in))
	if !zeros(x.take(pad4(used)), pad4(used)) {
		return errBadXZ
	}
	sum := x.take(4)
	used += pad4(used)
	if sum == nil || !sumOK(index[:used+4]) {
		return errBadXZ
	}
	foot := x.take(xzFooterSize)
	if foot == nil || binary.LittleEndian.Uint32(foot) != crc32.ChecksumIEEE(foot[4:10]) ||
		(uint64(binary.LittleEndian.Uint32(foot[4:]))+1)*4 != used+4 ||
		!bytes.Equal(foot[8:10], flags) || string(foot[10:]) != "YZ" {
		return errBadXZ
	}
	return nil
}

// block decodes one block into x.out.
func (x *xzReader) block() (xzRecord, error) {
	start := len(x.in)
	h := x.take((uint64(x.in[0]) + 1) * 4)
	if h == nil {
		return xzRecord{}, errBadXZ
	}
	packed, size, dict, err := blockHeader(h)
	if err != nil {
		return xzRecord{}, err
	}
	n, from := len(x.in), x.out.Len()
	if err := x.lzma2(dict); err != nil {
		return xzRecord{}, err
	}
	rec := xzRecord{uint64(start - len(x.in)), uint64(x.out.Len() - from)}
	if packed != 0 && packed != uint64(n-len(x.in)) || size != noSize && size != rec.size {
		return xzRecord{}, errBadXZ
	}
	pad := pad4(rec.unpadded)
	if !zeros(x.take(pad), pad) {
		return xzRecord{}, errBadXZ
	}
	sumSize, _ := checkSize(x.check)
	sum := x.take(sumSize)
	if sum == nil && sumSize > 0 || !bytes.Equal(sum, checksum(x.check, x.out.Bytes()[from:])) {
		return xzRecord{}, errors.New("damaged xz file: checksum differs")
	}
	rec.unpadded += sumSize
	return rec, nil
}

// noSize stands for a block header without the uncompressed size.
const noSize = ^uint64(0)

// blockHeader takes a block header apart. packed is 0 where it is not given.
func blockHeader(h []byte) (packed, size uint64, dict int64, err error) {
	size = noSize
	if !sumOK(h) || h[1]&0x3c != 0 {
		return 0, 0, 0, errBadXZ
	}
	r := &xzReader{in: h[2 : len(h)-4]}
	ok1, ok2 := true, true
	if h[1]&0x40 != 0 {
		packed, ok1 = r.uvarint()
		ok1 = ok1 && packed != 0
	}
	if h[1]&0x80 != 0 {
		size, ok2 = r.uvarint()
	}
	id, ok3 := r.uvarint()
	if !ok1 || !ok2 || !ok3 {
		return 0, 0, 0, errBadXZ
	}
	if id != xzLZMA2 || h[1]&3 != 0 {
		return 0, 0, 0, errors.New("xz file with filters other than LZMA2")
	}
	props := r.take(2)
	if props == nil || props[0] != 1 || !zeros(r.in, uint64(len(r.in))) {
		return 0, 0, 0, errBadXZ
	}
	if dict, err = lzma.DecodeDictCap(props[1]); err != nil {
		return 0, 0, 0, errBadXZ
	}
	return packed, size, dict, nil
}

// setDict has the header of the first block of file ask for a dictionary that
// is larger than what the block was made with.
func setDict(file []byte, dict int) error {
	if len(file) <= xzHeaderSize || file[xzHeaderSize] == 0 {
		return nil // nothing in it
	}
	h := file[xzHeaderSize:]
	h = h[:min(len(h), (int(h[0])+1)*4)]
	if _, _, _, err := blockHeader(h); err != nil || h[1] != 0 {
		return errBadXZ
	}
	h[4] = lzma.EncodeDictCap(int64(dict)) // after size, flags, filter, size of its properties
	sum := len(h) - 4
	binary.LittleEndian.PutUint32(h[sum:], crc32.ChecksumIEEE(h[:sum]))
	return nil
}

// lzma2 appends one LZMA2 sequence to x.out.
func (x *xzReader) lzma2(dict int64) error {
	x.dict = max(x.dict, dict)
	dict = min(dict, maxDict)
	if x.budget -= dict; x.budget < 0 {
		return errors.New("xz file with too many large dictionaries")
	}
	in := bytes.NewReader(x.in)
	r, err := lzma.Reader2Config{DictCap: int(dict)}.NewReader2(in)
	if err != nil {
		return err
	}
	if err := readAll(&x.out, r, x.limit); err != nil {
		return err
	}
	x.in = x.in[len(x.in)-in.Len():]
	return nil
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

func (x *xzReader) uvarint() (uint64, bool) {
	v, n := binary.Uvarint(x.in)
	if n <= 0 {
		return 0, false
	}
	x.in = x.in[n:]
	return v, true
}

// sumOK reports whether b ends in the CRC32 of what is before.
func sumOK(b []byte) bool {
	end := len(b) - 4
	return end >= 0 && crc32.ChecksumIEEE(b[:end]) == binary.LittleEndian.Uint32(b[end:])
}

// pad4 is how many bytes are missing to a multiple of four.
func pad4(n uint64) uint64 { return -n & 3 }

// zeros reports whether b is n bytes of 0.
func zeros(b []byte, n uint64) bool {
	return uint64(len(b)) == n && bytes.Count(b, []byte{0}) == len(b)
}

func checkSize(check byte) (n uint64, ok bool) {
	switch check {
	case xzNoCheck:
		return 0, true
	case xzCRC32:
		return 4, true
	case xzCRC64:
		return 8, true
	case xzSHA256:
		return sha256.Size, true
	default:
		return 0, false
	}
}

func checksum(check byte, data []byte) []byte {
	switch check {
	case xzCRC32:
		return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
	case xzCRC64:
		return binary.LittleEndian.AppendUint64(nil, crc64.Checksum(data, crc64.MakeTable(crc64.ECMA)))
	case xzSHA256:
		sum := sha256.Sum256(data)
		return sum[:]
	default:
		return nil
	}
}
