package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// The container format of xz is read here and only LZMA2 is left to the
// library, whose own reader believes the size of the dictionary that every
// block states, 4 GiB at most, and keeps a record of every block.

const (
	xzMagic      = "\xfd7zXZ\x00"
	xzHeaderSize = 12
	xzFooterSize = 12
	xzLZMA2      = 0x21
	// xzPeek is the stream header and the longest block header.
	xzPeek = xzHeaderSize + 1024
)

// maxDict is the dictionary of xz -9; what needs a larger one is damaged to
// us. maxDicts bounds what all dictionaries of a file take, one after the
// other, and with it the number of blocks, each of which counts minDict.
const (
	maxDict  = 64 << 20
	minDict  = 64 << 10
	maxDicts = 32 << 30
)

var (
	errBadXZ     = errors.New("damaged xz data")
	errXZFilters = errors.New("xz data with filters other than LZMA2")
)

// xzReader decodes an xz file as it comes.
type xzReader struct {
	in     *counter
	budget int64
	flags  [2]byte // of the stream
	block  *xzBlock
	// blocks digests the sizes of the blocks, to hold them against the index
	// without keeping them.
	blocks hash.Hash
	count  uint64
	err    error
}

// xzBlock is the block that is being decoded.
type xzBlock struct {
	data         io.Reader
	coded        int64 // where its compressed data begin, from the block on
	packed, size uint64
	done         uint64
	sum          hash.Hash
}

func newXZReader(in *bufio.Reader) *xzReader {
	x := &xzReader{in: &counter{in: in}, budget: maxDicts}
	x.err = x.streamHeader()
	return x
}

// Read implements [io.Reader].
func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.data.Read(p)
		x.block.done += uint64(n)
		x.block.sum.Write(p[:n])
		if errors.Is(err, io.EOF) {
			err = x.endBlock()
		}
		x.err = whole(err)
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// whole turns the end of the file, where it is too early, into an error.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads what comes after a block: another one, or the end of the stream.
func (x *xzReader) next() error {
	x.in.n = 0
	size, err := x.in.ReadByte()
	if err != nil {
		return whole(err)
	}
	if size != 0 {
		return whole(x.openBlock(size))
	}
	if err := x.tail(); err != nil {
		return whole(err)
	}
	return x.nextStream()
}

func (x *xzReader) streamHeader() error {
	h, err := x.in.take(xzHeaderSize)
	if err != nil {
		return whole(err)
	}
	if string(h[:6]) != xzMagic || !sumOK(h[6:]) || h[6] != 0 || h[7] > 15 {
		return errBadXZ
	}
	x.flags = [2]byte{h[6], h[7]}
	if checksum(h[7]) == nil {
		return fmt.Errorf("xz data with the unknown check %d", h[7])
	}
	x.blocks, x.count = sha256.New(), 0
	return nil
}

// nextStream begins the stream after this one, or says [io.EOF]. Between
// streams, and at the end, there may be zeros, four at a time.
func (x *xzReader) nextStream() error {
	for {
		head, err := x.in.in.Peek(4)
		if len(head) == 0 && errors.Is(err, io.EOF) {
			return io.EOF
		}
		if err != nil {
			return whole(err)
		}
		if !bytes.Equal(head, make([]byte, 4)) {
			return x.streamHeader()
		}
		if _, err := x.in.take(4); err != nil {
			return err
		}
	}
}

// openBlock reads the header of a block, whose first byte is size.
func (x *xzReader) openBlock(size byte) error {
	rest, err := x.in.take((int(size)+1)*4 - 1)
	if err != nil {
		return err
	}
	h, err := parseBlockHeader(append([]byte{size}, rest...))
	if err != nil {
		return err
	}
	dict := min(h.dict, maxDict)
	if h.size < uint64(dict) {
		dict = max(int64(h.size), lzma.MinDictCap) // a block cannot refer to more than itself
	}
	if x.budget -= max(dict, minDict); x.budget < 0 {
		return errors.New("xz data with too many blocks")
	}
	coded := x.in.n
	data, err := lzma.Reader2Config{DictCap: int(dict)}.NewReader2(x.in)
	if err != nil {
		return err
	}
	x.block = &xzBlock{data: data, coded: coded, packed: h.packed, size: h.size, sum: checksum(x.flags[1])}
	return nil
}

// endBlock checks a block that is read to its end.
func (x *xzReader) endBlock() error {
	b := x.block
	x.block = nil
	packed := uint64(x.in.n - b.coded)
	if b.packed != 0 && b.packed != packed || b.size != noSize && b.size != b.done {
		return errBadXZ
	}
	unpadded := uint64(x.in.n)
	if err := x.in.zeros(pad4(unpadded)); err != nil {
		return err
	}
	want := b.sum.Sum(nil)
	if x.flags[1] == xzCRC32 || x.flags[1] == xzCRC64 {
		slices.Reverse(want) // package hash sums to big-endian bytes
	}
	got, err := x.in.take(len(want))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("damaged xz data: checksum differs")
	}
	x.count++
	record(x.blocks, unpadded+uint64(len(want)), b.done)
	return nil
}

// record adds the sizes of a block to a digest.
func record(h hash.Hash, unpadded, size uint64) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], unpadded)
	binary.LittleEndian.PutUint64(b[8:], size)
	h.Write(b[:])
}

// tail reads index and footer, whose first byte is read, and holds them
// against the blocks.
func (x *xzReader) tail() error {
	x.in.sum = crc32.Update(0, crc32.IEEETable, []byte{0})
	count, err := binary.ReadUvarint(x.in)
	if err != nil {
		return err
	}
	if count != x.count {
		return errBadXZ
	}
	index := sha256.New()
	for range count {
		unpadded, err := binary.ReadUvarint(x.in)
		if err != nil {
			return err
		}
		size, err := binary.ReadUvarint(x.in)
		if err != nil {
			return err
		}
		record(index, unpadded, size)
	}
	if !bytes.Equal(index.Sum(nil), x.blocks.Sum(nil)) {
		return errBadXZ
	}
	if err := x.in.zeros(pad4(uint64(x.in.n))); err != nil {
		return err
	}
	return x.footer(x.in.sum)
}

// footer reads the checksum of the index, which must be sum, and the footer.
func (x *xzReader) footer(sum uint32) error {
	got, err := x.in.take(4)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(got) != sum {
		return errBadXZ
	}
	size := x.in.n
	f, err := x.in.take(xzFooterSize)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(f) != crc32.ChecksumIEEE(f[4:10]) ||
		(int64(binary.LittleEndian.Uint32(f[4:]))+1)*4 != size ||
		!bytes.Equal(f[8:10], x.flags[:]) || string(f[10:]) != "YZ" {
		return errBadXZ
	}
	return nil
}

// blockHeader is what a block says of itself.
type blockHeader struct {
	packed uint64 // 0 where it is not given
	size   uint64 // noSize where it is not given
	dict   int64
}

// noSize stands for a block header without the uncompressed size.
const noSize = ^uint64(0)

// parseBlockHeader takes a whole block header apart.
func parseBlockHeader(h []byte) (blockHeader, error) {
	b := blockHeader{size: noSize}
	if len(h) < 8 || !sumOK(h) || h[1]&0x3c != 0 {
		return b, errBadXZ
	}
	r := bytes.NewReader(h[2 : len(h)-4])
	var err error
	if h[1]&0x40 != 0 {
		if b.packed, err = binary.ReadUvarint(r); err != nil || b.packed == 0 {
			return b, errBadXZ
		}
	}
	if h[1]&0x80 != 0 {
		if b.size, err = binary.ReadUvarint(r); err != nil {
			return b, errBadXZ
		}
	}
	id, err := binary.ReadUvarint(r)
	if err != nil {
		return b, errBadXZ
	}
	if id != xzLZMA2 || h[1]&3 != 0 {
		return b, errXZFilters
	}
	rest, err := io.ReadAll(r)
	if err != nil || len(rest) < 2 || rest[0] != 1 || bytes.Count(rest[2:], []byte{0}) != len(rest)-2 {
		return b, errBadXZ
	}
	if b.dict, err = lzma.DecodeDictCap(rest[1]); err != nil {
		return b, errBadXZ
	}
	return b, nil
}

// foreignFilters tells from the beginning of an xz file whether it takes the
// xz program to read it.
func foreignFilters(head []byte) bool {
	if len(head) <= xzHeaderSize {
		return false
	}
	h := head[xzHeaderSize:]
	n := (int(h[0]) + 1) * 4
	if len(h) < n {
		return false
	}
	_, err := parseBlockHeader(h[:n])
	return errors.Is(err, errXZFilters)
}

// The checks of xz.
const (
	xzNoCheck = 0
	xzCRC32   = 1
	xzCRC64   = 4
	xzSHA256  = 10
)

// checksum starts the sum that check stands for, or returns nil.
func checksum(check byte) hash.Hash {
	switch check {
	case xzNoCheck:
		return noHash{}
	case xzCRC32:
		return crc32.NewIEEE()
	case xzCRC64:
		return crc64.New(crc64.MakeTable(crc64.ECMA))
	case xzSHA256:
		return sha256.New()
	default:
		return nil
	}
}
