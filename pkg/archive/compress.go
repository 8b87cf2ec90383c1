package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// compressor returns a writer that writes to f compressed. Closing the writer
// finishes the compressed stream but leaves f open.
func compressor(ctx context.Context, run *system.Runner, f *os.File, kind compression) (io.WriteCloser, error) {
	switch kind {
	case gzipped:
		return gzip.NewWriter(f), nil
	case xzed:
		return xz.NewWriter(f)
	case zstded:
		return zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
	case bzipped:
		if !run.Has("bzip2") {
			return nil, exit.Errorf(writeFailed, "bzip2: program not found").
				WithHint("install bzip2, or use .tar.gz, .tar.xz or .tar.zst")
		}
		return writeThrough(ctx, run, f, "bzip2", "-c"), nil
	default:
		return open{f}, nil
	}
}

// open is a writer whose Close does nothing.
type open struct{ io.Writer }

func (open) Close() error { return nil }

// toProgram is the standard input of a running program.
type toProgram struct {
	*io.PipeWriter
	done <-chan error
}

// writeThrough starts a program that reads what is written and writes to f.
func writeThrough(ctx context.Context, run *system.Runner, f *os.File, argv ...string) toProgram {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run.Run(ctx, system.Cmd{Argv: argv, Stdin: r, Stdout: f})
		r.CloseWithError(err)
		done <- err
	}()
	return toProgram{w, done}
}

// Close ends the input and waits for the program.
func (p toProgram) Close() error {
	p.PipeWriter.Close()
	return <-p.done
}

// fromProgram is the standard output of a running program.
type fromProgram struct {
	*io.PipeReader
	stop context.CancelFunc
	done <-chan struct{}
}

// readThrough starts a program that reads in; its output is what is read.
func readThrough(ctx context.Context, run *system.Runner, in io.Reader, argv ...string) fromProgram {
	ctx, stop := context.WithCancel(ctx)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(run.Run(ctx, system.Cmd{Argv: argv, Stdin: in, Stdout: w}))
	}()
	return fromProgram{r, stop, done}
}

// Close ends the program, even if its output was not read completely.
func (p fromProgram) Close() error {
	p.stop()
	err := p.PipeReader.Close()
	<-p.done
	return err
}

// xzMagic begins an xz stream (The .xz File Format, 2.1.1.1).
const xzMagic = "\xfd7zXZ\x00"

// maxWindow bounds the memory that one compressed stream can require: the
// window of zstd --ultra -22, which is more than the dictionary of xz -9.
const maxWindow = 128 << 20

// decompressor returns the content of in, whose compression its first bytes
// tell. The use of memory is bounded, whatever a stream claims to need.
func decompressor(ctx context.Context, run *system.Runner, in *bufio.Reader) (io.ReadCloser, error) {
	head, err := in.Peek(len(xzMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch detect(head) {
	case gzipped:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return &gunzip{z, in}, nil
	case xzed:
		// The library would allocate any dictionary that a stream claims to
		// need.
		return readThrough(ctx, run, in, "xz", "--decompress", "--stdout", "--memlimit-decompress=256MiB"), nil
	case zstded:
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case bzipped:
		return io.NopCloser(bzip2.NewReader(in)), nil
	default:
		return io.NopCloser(in), nil
	}
}

// gunzip reads gzip streams, one behind the other. As gzip itself does, it
// ignores 0 bytes at the end: libarchive, in rpm2archive, fills its last block.
type gunzip struct {
	*gzip.Reader
	in *bufio.Reader
}

// Read implements [io.Reader].
func (g *gunzip) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	for {
		switch c, err := g.in.ReadByte(); {
		case err != nil:
			return n, err
		case c == 0:
			continue
		}
		if err := errors.Join(g.in.UnreadByte(), g.Reset(g.in)); err != nil {
			return n, err
		}
		g.Multistream(false)
		return n, nil
	}
}

// detect recognises the compression of a stream by its first bytes.
func detect(head []byte) compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzipped
	case bytes.HasPrefix(head, []byte(xzMagic)):
		return xzed
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), skippable(head):
		return zstded
	case len(head) > 3 && string(head[:3]) == "BZh" && head[3] >= '1' && head[3] <= '9':
		return bzipped
	default:
		return plain
	}
}

// skippable reports whether head begins with the frame that pzstd writes first.
func skippable(head []byte) bool {
	return len(head) > 3 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}

// meter passes on at most left bytes of in, and none after ctx has ended. It
// keeps the error that ended the reading, and counts the 0 bytes at the end.
type meter struct {
	ctx   context.Context
	in    io.Reader
	left  int64
	err   error
	zeros int // 0 bytes at the end of what was passed on, at most blockSize
}

// blockSize is the unit of tar archives.
const blockSize = 512

var errTooLong = errors.New("longer than it may be")

// Read implements [io.Reader].
func (m *meter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	if m.ctx.Err() != nil {
		m.err = context.Cause(m.ctx)
		return 0, m.err
	}
	if int64(len(p)) > m.left+1 {
		p = p[:m.left+1]
	}
	n, err := m.in.Read(p)
	if int64(n) > m.left {
		n, err = int(m.left), errTooLong
	}
	m.left -= int64(n)
	m.count(p[:n])
	m.err = err
	return n, err
}

func (m *meter) count(p []byte) {
	rest := bytes.TrimRight(p[max(0, len(p)-blockSize):], "\x00")
	end := min(len(p), blockSize) - len(rest)
	if len(rest) == 0 {
		end += m.zeros
	}
	m.zeros = min(end, blockSize)
}
