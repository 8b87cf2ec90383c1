package initramfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// lz4Magic begins a frame of the legacy format, which is the one that the kernel
// reads (lz4_Frame_format.md, Legacy frame; lib/decompress_unlz4.c).
var lz4Magic = []byte{0x02, 0x21, 0x4c, 0x18}

// lz4Block is the size that a block of a legacy frame unpacks to at most.
const lz4Block = 8 << 20

var errLZ4 = errors.New("damaged lz4 data")

// lz4Reader unpacks legacy frames: blocks, each with its length in front.
type lz4Reader struct {
	in   io.Reader
	left []byte
	out  []byte
}

func (r *lz4Reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if err := r.block(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// block unpacks the next block. Another frame may begin in its place, and zeros
// may follow the last one.
func (r *lz4Reader) block() error {
	var head [4]byte
	if _, err := io.ReadFull(r.in, head[:]); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return io.EOF
	} else if err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(head[:])
	switch {
	case bytes.Equal(head[:], lz4Magic):
		return nil
	case size == 0:
		return io.EOF
	case size > lz4Block+lz4Block/255+16:
		return errLZ4
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r.in, data); err != nil {
		return unexpected(err)
	}
	var err error
	r.out, err = unlz4(r.out[:0], data)
	r.left = r.out
	return err
}

// unlz4 appends to out what a block unpacks to (lz4_Block_format.md): sequences
// of literals and of a copy of what was unpacked before.
func unlz4(out, in []byte) ([]byte, error) {
	length := func(n int) (int, bool) {
		if n < 15 {
			return n, true
		}
		for len(in) > 0 {
			b := in[0]
			in, n = in[1:], n+int(b)
			if b != 255 {
				return n, true
			}
		}
		return 0, false
	}
	for len(in) > 0 {
		token := in[0]
		in = in[1:]
		literals, ok := length(int(token >> 4))
		if !ok || literals > len(in) || len(out)+literals > lz4Block {
			return nil, errLZ4
		}
		out, in = append(out, in[:literals]...), in[literals:]
		if len(in) == 0 {
			return out, nil // the last sequence has no copy
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		distance := int(in[0]) | int(in[1])<<8
		in = in[2:]
		n, ok := length(int(token & 15))
		n += 4
		if !ok || distance == 0 || distance > len(out) || len(out)+n > lz4Block {
			return nil, errLZ4
		}
		for range n { // the copy may overlap itself
			out = append(out, out[len(out)-distance])
		}
	}
	return out, nil
}
