package module

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"dkms/pkg/system"
)

const (
	// defaultDict is the largest dictionary that the kernel's documentation
	// advises.
	defaultDict = 1 << 20
	// maxWindow is the largest window that a zstd frame may make the kernel
	// allocate.
	maxWindow = 8 << 20
	// xzSearch is the distance in which the library for xz searches for
	// matches. A larger distance takes longer and makes modules larger, because
	// the library prefers a long match, however distant.
	xzSearch = 128 << 10
	// smallZstd is the size below which the best level is not used: setting up
	// its tables takes 34 MiB, and twice the time in which zstd compresses
	// everything.
	smallZstd = 256 << 10

	defaultGzipLevel = 6
	defaultZstdLevel = 3
)

// Compress returns data compressed, after decoding the result and comparing it
// with data. The result is within the limits of the kernel's decoders: xz has a
// CRC32 (or no check, if the options say so) and one LZMA2 filter; zstd is one
// frame with its content size and a window of 8 MiB or less; gzip has no name
// and no time. The same data and options give the same bytes on the same
// machine.
//
// Where the tool is installed it compresses, because its results are smaller;
// otherwise this program does, unless only the tool supports the options.
// Without run no program is started. The error is an [OptionsError] where the
// tool refuses the options, or where no kernel can decode the tool's result.
func Compress(ctx context.Context, run *system.Runner, c Compression, o Options, data []byte) ([]byte, error) {
	if c == None {
		return data, nil
	}
	if o.format != None && o.format != c {
		return nil, fmt.Errorf("%s: options are for %s", c, o.format)
	}
	out, err := pack(ctx, run, c, o, data)
	if err == nil {
		err = verify(c, out, data)
	}
	if err == nil {
		return out, nil
	}
	err = fmt.Errorf("%s: %w", c, err)
	if o.tool && ctx.Err() == nil {
		err = &OptionsError{fmt.Errorf("%w (the options are %s)", err, strings.Join(o.args, " "))}
	}
	return nil, err
}

func pack(ctx context.Context, run *system.Runner, c Compression, o Options, data []byte) ([]byte, error) {
	if run != nil && run.Has(c.String()) {
		out, err := packTool(ctx, run, c, o, data)
		if err == nil || o.tool || ctx.Err() != nil {
			return out, err
		}
	} else if o.tool {
		return nil, fmt.Errorf("%s is not installed, and only it knows these options", c)
	}
	switch c {
	case Gzip:
		return packGzip(ctx, o, data)
	case XZ:
		return packXZ(ctx, o, data)
	case Zstd:
		return packZstd(ctx, o, data)
	default:
		return nil, errors.New("no such compression")
	}
}

// packTool compresses with the tool. On Debian's modules the results of the
// libraries are larger than those of the tools: by 18 % for xz, by up to 8 %
// for zstd at the default level and 16 % at level 19, and by up to 4 % for
// gzip.
func packTool(ctx context.Context, run *system.Runner, c Compression, o Options, data []byte) ([]byte, error) {
	out, err := run.Output(ctx, system.Cmd{Argv: toolArgv(c, o, len(data)), Stdin: bytes.NewReader(data)})
	// The kernel allocates the whole dictionary, however little data there is.
	if most := fit(len(data), maxWindow); err == nil && c == XZ && o.dict > most {
		err = setDict(out, most)
	}
	return out, err
}

// toolArgv returns the command line that compresses standard input. It uses one
// thread, so that the result does not depend on the number of processors.
func toolArgv(c Compression, o Options, size int) []string {
	argv := []string{c.String(), "-c", "-q"}
	switch c {
	case Gzip:
		argv = append(argv, "-n")
	case XZ:
		argv = append(argv, "--format=xz", "--check=crc32", "-T1")
		if o.dict == 0 {
			argv = append(argv, "--lzma2=dict="+strconv.Itoa(defaultDict))
		}
	case Zstd:
		argv = append(argv, "-T1", "--stream-size="+strconv.Itoa(size))
	}
	return append(argv, o.args...)
}

func packGzip(ctx context.Context, o Options, data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzipLevel(o.level))
	if err != nil {
		return nil, err
	}
	err = writeAll(ctx, w, data)
	return out.Bytes(), err
}

// gzipLevel returns the library's level for a level of gzip. The library's
// first level makes 4 % more than gzip's.
func gzipLevel(level int) int {
	if level == 0 {
		level = defaultGzipLevel
	}
	return max(level, 2)
}

// packXZ searches a smaller distance than the dictionary of the options; the
// header still announces that dictionary.
func packXZ(ctx context.Context, o Options, data []byte) ([]byte, error) {
	dict := dictFor(o.dict, len(data))
	config := xz.WriterConfig{
		DictCap:    min(dict, xzSearch),
		CheckSum:   xz.CRC32,
		NoCheckSum: o.noCheck,
		Matcher:    lzma.HashTable4, // the binary tree takes minutes
	}
	var out bytes.Buffer
	w, err := config.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	err = writeAll(ctx, w, data)
	if err == nil {
		err = setDict(out.Bytes(), dict)
	}
	return out.Bytes(), err
}

// fit returns least, doubled until size bytes fit into the result.
func fit(size, least int) int {
	for least < size {
		least *= 2
	}
	return least
}

// dictFor returns the dictionary size for size bytes of data where the options
// ask for dict. The kernel allocates the whole dictionary, so a large one is
// reduced to what the data fills.
func dictFor(dict, size int) int {
	if dict == 0 {
		dict = defaultDict
	}
	return min(dict, fit(size, maxWindow))
}

// packZstd writes one frame that contains its content size.
func packZstd(ctx context.Context, o Options, data []byte) ([]byte, error) {
	level := o.level
	if level == 0 {
		level = defaultZstdLevel
	}
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstdLevel(level, len(data))),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(!o.noCheck),
		zstd.WithZeroFrames(true),
		// A single segment always has its size, and no window larger than its
		// content.
		zstd.WithSingleSegment(len(data) <= maxWindow),
		zstd.WithWindowSize(min(maxWindow, fit(len(data), zstd.MinWindowSize))),
	)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return e.EncodeAll(data, nil), nil
}

// zstdLevel returns the library's level for a level of zstd and size bytes. On
// modules the fastest of the library's four levels compresses about as well as
// zstd -3.
func zstdLevel(level, size int) zstd.EncoderLevel {
	if level <= defaultZstdLevel {
		return zstd.SpeedFastest
	}
	best := zstd.SpeedBestCompression
	if size < smallZstd {
		best = zstd.SpeedBetterCompression
	}
	return min(zstd.EncoderLevelFromZstd(level), best)
}

// chunk is how many bytes are compressed between two checks of the context.
const chunk = 1 << 20

func writeAll(ctx context.Context, w io.WriteCloser, data []byte) error {
	for len(data) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(len(data), chunk)
		if _, err := w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return w.Close()
}

// verify decodes out, compares it with data, and checks that the kernel can
// decode out.
func verify(c Compression, out, data []byte) error {
	var back []byte
	var err error
	switch c {
	case Gzip:
		back, err = verifyGzip(out, len(data))
	case XZ:
		back, err = verifyXZ(out, len(data))
	case Zstd:
		back, err = verifyZstd(out, len(data))
	}
	if err != nil {
		return fmt.Errorf("checking the result: %w", err)
	}
	if !bytes.Equal(back, data) {
		return errors.New("checking the result: it decodes to something else")
	}
	return nil
}

// verifyGzip accepts only a header without optional fields and a single member.
func verifyGzip(out []byte, size int) ([]byte, error) {
	if len(out) < 10 || !bytes.Equal(out[:8], []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0}) {
		return nil, errors.New("the header has more than the kernel skips")
	}
	in := bytes.NewReader(out)
	r, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.Multistream(false)
	var back bytes.Buffer
	if err := readAll(&back, r, size); err != nil {
		return nil, err
	}
	if in.Len() > 0 {
		return nil, errors.New("more than one member")
	}
	return back.Bytes(), nil
}

func verifyZstd(out []byte, size int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(out); err != nil {
		return nil, err
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	switch {
	case h.Skippable || h.DictionaryID != 0:
		return nil, errors.New("not a plain frame")
	case !h.HasFCS || h.FrameContentSize != uint64(size):
		return nil, errors.New("the frame does not tell the size of all of the content")
	case window > maxWindow:
		return nil, fmt.Errorf("the window of %d bytes is larger than the %d that the kernel should be asked for", window, maxWindow)
	}
	return unzstd(out, size)
}
