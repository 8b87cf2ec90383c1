package module

import (
	"bytes"
	"compress/gzip"
	"errors"

	"github.com/klauspost/compress/zstd"
)

// Decompress returns the content of a module, whose compression its first bytes
// tell; data that is not compressed is returned unchanged. Content of more than
// 512 MiB is an error.
func Decompress(data []byte) ([]byte, error) {
	return decompress(data, maxSize)
}

func decompress(data []byte, limit int) ([]byte, error) {
	switch Detect(data) {
	case Gzip:
		return gunzip(data, limit)
	case XZ:
		return unxz(data, limit)
	case Zstd:
		return unzstd(data, limit)
	}
	if len(data) > limit {
		return nil, errTooBig
	}
	return data, nil
}

func gunzip(data []byte, limit int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	if err := readAll(&out, r, limit); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// maxFrameWindow is the window of zstd --ultra -22, which any frame may have,
// however small its content.
const maxFrameWindow = 128 << 20

// unzstd decodes all frames. A window takes no memory of its own, because the
// output serves as the window.
func unzstd(data []byte, limit int) ([]byte, error) {
	memory := uint64(max(limit, maxFrameWindow))
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(memory))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	out, err := d.DecodeAll(data, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, errTooBig
	}
	if err == nil && len(out) > limit {
		err = errTooBig
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}
