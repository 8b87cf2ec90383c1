package module

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"dkms/pkg/system"
)

// payloads are contents that compressors treat differently.
func payloads(t testing.TB) map[string][]byte {
	random := make([]byte, 50_000)
	rand.NewChaCha8([32]byte{1}).Read(random)
	return map[string][]byte{
		"empty":  {},
		"byte":   {7},
		"zeros":  make([]byte, 1<<20+1),
		"random": random,
		"code":   machineCode(t, 400_000),
	}
}

// xzFacts are check, filter chain, streams and blocks, as xz tells them.
func xzFacts(t testing.TB, packed []byte) string {
	t.Helper()
	path := writeFile(t, filepath.Join(t.TempDir(), "file.xz"), packed)
	var facts []string
	for line := range strings.Lines(output(t, "xz", "--robot", "-lvv", path)) {
		f := strings.Fields(line)
		switch f[0] {
		case "file":
			facts = append(facts, "streams="+f[1], f[6])
		case "block":
			facts = append(facts, strings.Join(f[15:], " "))
		}
	}
	return strings.Join(facts, " ")
}

// TestCompress lets the tools test and decode the result.
func TestCompress(t *testing.T) {
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		need(t, c.String())
		for name, data := range payloads(t) {
			out, err := Compress(t.Context(), nil, c, Options{}, data)
			if err != nil {
				t.Fatalf("%v %s: %v", c, name, err)
			}
			path := writeFile(t, filepath.Join(t.TempDir(), "file"+c.Suffix()), out)
			output(t, c.String(), "-t", "-q", path)
			if back, err := run(out, c.String(), "-dc"); err != nil || !bytes.Equal(back, data) {
				t.Errorf("%v -d of %s: %d bytes, %v; want %d bytes", c, name, len(back), err, len(data))
			}
			again, err := Compress(t.Context(), nil, c, Options{}, data)
			if err != nil || !bytes.Equal(again, out) {
				t.Errorf("%v %s: two runs differ", c, name)
			}
			if c == XZ && len(data) > 0 {
				if got, want := xzFacts(t, out), "streams=1 CRC32 --lzma2=dict=1MiB"; got != want {
					t.Errorf("%s: xz says %q; want %q", name, got, want)
				}
			}
			if Detect(out) != c {
				t.Errorf("Detect of %v %s = %v", c, name, Detect(out))
			}
		}
	}
	out, err := Compress(t.Context(), nil, None, Options{}, []byte("as is"))
	if err != nil || string(out) != "as is" {
		t.Errorf("Compress(none) = %q, %v", out, err)
	}
}

// TestCompressXZOptions compares check and filters with those that xz makes of
// the same options, apart from the check that it has by default.
func TestCompressXZOptions(t *testing.T) {
	need(t, "xz")
	data := machineCode(t, 200_000)
	for _, opts := range []string{
		"--check=crc32 --lzma2=dict=1MiB", "--check=crc32 --lzma2=dict=1MiB -6", "-6 --lzma2=dict=64KiB --check=crc32",
		"--check=none -3", "--check=crc32 -2 -e", "--check=crc32 --lzma2=dict=1MiB,mf=bt2,nice=32", "-Ccrc32 -0 -T0",
		"--check=crc32 --lzma2=dict=3MiB,lc=2,lp=1,pb=0", "--check=crc32 --lzma2=dict=5000",
	} {
		o, err := ParseOptions(XZ, opts)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := Compress(t.Context(), runner(), XZ, o, data)
		if err != nil {
			t.Fatalf("%s: %v", opts, err)
		}
		theirs, err := run(data, append([]string{"xz", "-c", "-T1"}, strings.Fields(strings.ReplaceAll(opts, "-T0", ""))...)...)
		if err != nil {
			t.Fatal(err)
		}
		if o.tool && !bytes.Equal(ours, theirs) {
			t.Errorf("%s: not what xz makes", opts)
		}
		got, want := dictOf(xzFacts(t, ours)), dictOf(xzFacts(t, theirs))
		if got != want {
			t.Errorf("%s: %q; xz makes %q", opts, got, want)
		}
	}
}

// dictOf leaves of a filter chain what the header of a block holds.
func dictOf(facts string) string {
	facts, _, _ = strings.Cut(facts, ",")
	return facts
}

func TestCompressTools(t *testing.T) {
	data := machineCode(t, 100_000)
	for c, list := range map[Compression][]string{
		Gzip: {"--rsyncable -9", "-9", "-1"},
		XZ:   {"-1e", "--lzma2=dict=64KiB,mf=hc3 --check=none", "-4"},
		Zstd: {"--rsyncable -T0", "--zstd=wlog=17 -5", "-19", "--fast=3", "--no-check -9", "--ultra -22 --row-match-finder"},
	} {
		need(t, c.String())
		for _, opts := range list {
			o, err := ParseOptions(c, opts)
			if err != nil {
				t.Fatal(err)
			}
			out, err := Compress(t.Context(), runner(), c, o, data)
			if err != nil {
				t.Errorf("%v %s: %v", c, opts, err)
				continue
			}
			if back, err := run(out, c.String(), "-dc"); err != nil || !bytes.Equal(back, data) {
				t.Errorf("%v %s does not come back: %v", c, opts, err)
			}
		}
	}
}

// TestZstdFrames holds frames of large data against the kernel's limits.
func TestZstdFrames(t *testing.T) {
	need(t, "zstd")
	data := make([]byte, maxWindow+1) // the smallest that needs a window
	copy(data[maxWindow/2:], machineCode(t, 1<<20))
	for _, test := range []struct {
		opts string
		run  *system.Runner
	}{{"", nil}, {"-9", nil}, {"--ultra -22 --long", nil}, {"", runner()}, {"--fast", runner()}, {"--ultra -22 --long", runner()}} {
		opts := test.opts
		o, err := ParseOptions(Zstd, opts)
		if err != nil {
			t.Fatal(err)
		}
		out, err := Compress(t.Context(), test.run, Zstd, o, data)
		if err != nil {
			t.Fatal(err)
		}
		var h zstd.Header
		if err := h.Decode(out); err != nil || h.WindowSize > maxWindow || h.FrameContentSize != uint64(len(data)) || !h.HasCheckSum {
			t.Errorf("%q: %v, header %+v", opts, err, h)
		}
		// The tool refuses windows above what it is allowed.
		if _, err := run(out, "zstd", "-dc", "-M8MiB"); err != nil {
			t.Errorf("%q: %v", opts, err)
		}
	}
}

// TestVerify takes results that a kernel would not.
func TestVerify(t *testing.T) {
	need(t, "gzip", "xz", "zstd")
	data := make([]byte, maxWindow+1)
	copy(data, machineCode(t, 100_000))
	packed := func(argv ...string) []byte {
		out, err := run(data, argv...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	gz, xz := packed("gzip", "-1nc"), packed("xz", "-0c", "--check=crc32")
	named := bytes.Clone(gz)
	named[3] = 8
	dated := bytes.Clone(gz)
	dated[4] = 1
	for name, test := range map[string]struct {
		c    Compression
		out  []byte
		want string
	}{
		"gzip":            {Gzip, gz, ""},
		"gzip name":       {Gzip, named, "more than the kernel skips"},
		"gzip time":       {Gzip, dated, "more than the kernel skips"},
		"gzip members":    {Gzip, append(bytes.Clone(gz), gz...), "more than one member"},
		"gzip cut":        {Gzip, gz[:len(gz)-1], "EOF"},
		"xz":              {XZ, xz, ""},
		"xz crc64":        {XZ, packed("xz", "-0c"), "check CRC64"},
		"xz filter":       {XZ, packed("xz", "-c", "--check=crc32", "--x86", "--lzma2=preset=0"), "filters other than LZMA2"},
		"xz streams":      {XZ, append(bytes.Clone(xz), xz...), "more than one stream"},
		"xz damaged":      {XZ, append(bytes.Clone(xz[:len(xz)/2]), xz[len(xz)/2+1:]...), ""},
		"zstd":            {Zstd, packed("zstd", "-1c", fmt.Sprintf("--stream-size=%d", len(data))), ""},
		"zstd no size":    {Zstd, packed("zstd", "-1c"), "does not tell the size"},
		"zstd large":      {Zstd, packed("zstd", "-1c", "--zstd=wlog=24", fmt.Sprintf("--stream-size=%d", len(data))), "window"},
		"zstd of less":    {Zstd, mustZstd(t, data[:1000]), "does not tell the size"},
		"zstd other data": {Zstd, mustZstd(t, bytes.Repeat([]byte{1}, len(data))), "decodes to something else"},
	} {
		err := verify(test.c, test.out, data)
		fine := test.want == "" && !strings.HasSuffix(name, "damaged")
		if fine != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: verify: %v; want %q", name, err, test.want)
		}
	}
}

func mustZstd(t *testing.T, data []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithWindowSize(maxWindow))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(data, nil)
}

// TestDecompressForeign reads what the tools make in ways that we never do.
func TestDecompressForeign(t *testing.T) {
	data := machineCode(t, 200_000)
	for _, argv := range [][]string{
		{"xz", "-0c"}, {"xz", "-0c", "--check=sha256"}, {"xz", "-0c", "--check=none"},
		{"xz", "-0c", "--block-size=90000"}, {"xz", "-0c", "-T2", "--block-size=100000"}, {"xz", "-c", "--lzma2=dict=128MiB,mode=fast,mf=hc3,nice=8"},
		{"xz", "-0ec", "--lzma2=preset=0,lc=0,lp=4,pb=0"},
		{"gzip", "-c"}, {"gzip", "-cN"}, {"zstd", "-c"}, {"zstd", "-c", "--no-check"}, {"zstd", "-c", "--ultra", "-20", "--long=27"},
	} {
		need(t, argv[0])
		out, err := run(data, argv...)
		if err != nil {
			t.Fatal(err)
		}
		for name, packed := range map[string][]byte{"once": out, "twice": append(bytes.Clone(out), out...)} {
			want := data
			if name == "twice" {
				want = append(bytes.Clone(data), data...)
			}
			if got, err := Decompress(packed); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Decompress of %v %s: %d bytes, %v; want %d", argv, name, len(got), err, len(want))
			}
			if _, err := decompress(packed, len(want)); err != nil {
				t.Errorf("%v %s at the limit: %v", argv, name, err)
			}
			if _, err := decompress(packed, len(want)-1); !errors.Is(err, errTooBig) {
				t.Errorf("%v %s beyond the limit: %v; want %v", argv, name, err, errTooBig)
			}
		}
		if _, err := Decompress(out[:len(out)-1]); err == nil {
			t.Errorf("Decompress takes %v without its end", argv)
		}
	}
	padded, err := run(data, "xz", "-0c")
	if err != nil {
		t.Fatal(err)
	}
	padded = append(padded, 0, 0, 0, 0)
	if got, err := Decompress(append(padded, padded...)); err != nil || len(got) != 2*len(data) {
		t.Errorf("Decompress of padded streams: %d bytes, %v", len(got), err)
	}
}

// TestUnxzDamage changes every byte of a small file in turn. The reserved and
// unused bits aside, xz itself is the judge of what must be refused.
func TestUnxzDamage(t *testing.T) {
	need(t, "xz")
	good, err := run([]byte("a few bytes"), "xz", "-c", "--check=crc32")
	if err != nil {
		t.Fatal(err)
	}
	for i := len(xzMagic); i < len(good); i++ {
		bad := bytes.Clone(good)
		bad[i] ^= 0x41
		_, xzErr := run(bad, "xz", "-dc")
		_, err := Decompress(bad)
		if (err == nil) != (xzErr == nil) {
			t.Errorf("byte %d changed: %v; xz: %v", i, err, xzErr)
		}
	}
}

// TestCompressSize: the result is at most 3 % larger than what the programs
// make with the same options, and without the programs three tenths.
func TestCompressSize(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	m := buildModules(t)
	data := append(readFile(t, m.first), readFile(t, m.second)...)
	for name, n := range map[string]int{"modules": len(data), "code": 300_000} {
		if name == "code" {
			data = machineCode(t, n)
		}
		for c, options := range map[Compression][]string{
			Gzip: {"", "-1", "-9"},
			XZ:   {"--check=crc32 --lzma2=dict=1MiB", "-6"},
			Zstd: {"", "-1", "-9", "-19"},
		} {
			need(t, c.String())
			for _, opts := range options {
				compareSize(t, c, opts, data)
			}
		}
	}
}

func compareSize(t *testing.T, c Compression, opts string, data []byte) {
	t.Helper()
	o, err := ParseOptions(c, opts)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := run(data, toolArgv(c, o, len(data))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		run   *system.Runner
		limit float64
	}{{runner(), 1.03}, {nil, 1.3}} {
		ours, err := Compress(t.Context(), test.run, c, o, data)
		if err != nil {
			t.Fatal(err)
		}
		if ratio := float64(len(ours)) / float64(len(theirs)); ratio > test.limit {
			t.Errorf("%v %s: %d bytes of %d are %.3f times what the program makes; want %v", c, opts, len(ours), len(data), ratio, test.limit)
		}
	}
}

// TestSetDict: only the header of a block that says no more than what it is
// made with is changed.
func TestSetDict(t *testing.T) {
	whole, err := packXZ(t.Context(), Options{}, []byte("some data"))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"cut short": whole[:xzHeaderSize+2],
		"damaged":   append(append([]byte{}, whole[:xzHeaderSize+4]...), make([]byte, 20)...),
	} {
		if err := setDict(bad, 1<<20); err == nil {
			t.Errorf("setDict of a file that is %s = nil; want an error", name)
		}
	}
	if err := setDict(whole[:xzHeaderSize], 1<<20); err != nil {
		t.Errorf("setDict of a header alone = %v; want nil", err)
	}
}

func TestDictFor(t *testing.T) {
	const miB = 1 << 20
	for _, test := range []struct{ dict, size, want int }{
		{0, 0, miB}, {0, 100 * miB, miB}, {8 * miB, 10, 8 * miB}, {64 * miB, 10, 8 * miB},
		{64 * miB, 9 * miB, 16 * miB}, {64 * miB, 100 * miB, 64 * miB}, {4096, 10, 4096},
	} {
		if got := dictFor(test.dict, test.size); got != test.want {
			t.Errorf("dictFor(%d, %d) = %d; want %d", test.dict, test.size, got, test.want)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		out, err := Compress(f.Context(), nil, c, Options{}, []byte("some data, some data, some data"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 20
		out, err := decompress(data, limit)
		if err == nil && len(out) > max(limit, len(data)) {
			t.Fatalf("%d bytes; the limit is %d", len(out), limit)
		}
	})
}
