package module

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	const miB = 1 << 20
	for _, test := range []struct {
		c    Compression
		opts string
		want Options
		args string
	}{
		{XZ, "--check=crc32 --lzma2=dict=1MiB", Options{dict: miB}, "--check=crc32 --lzma2=dict=1MiB"},
		{XZ, "--check=crc32 --lzma2=dict=1MiB -6", Options{dict: 8 * miB}, "--check=crc32 --lzma2=dict=1MiB -6"},
		{XZ, "-6 --lzma2=dict=64KiB", Options{dict: miB / 16}, "-6 --lzma2=dict=64KiB"},
		{XZ, "--check=crc32", Options{dict: 8 * miB}, "--check=crc32"},
		{XZ, "-q -T0 -f -k -v --threads=2", Options{dict: 8 * miB}, ""},
		{XZ, "--check=none -0", Options{dict: miB / 4, noCheck: true}, "--check=none -0"},
		{XZ, "--lzma2=dict=1", Options{dict: 8 * miB, tool: true}, "--lzma2=dict=1"},
		{XZ, "--lzma2=dict=max", Options{dict: 8 * miB, tool: true}, "--lzma2=dict=max"},
		{XZ, "-6e", Options{dict: 8 * miB, tool: true}, "-6e"},
		{XZ, "--threads 2 -2", Options{dict: 2 * miB, tool: true}, "--threads 2 -2"},
		{Gzip, "-9", Options{level: 9}, "-9"},
		{Gzip, "-9 -1 --no-name -q -f", Options{level: 1}, "-9 -1 --no-name"},
		{Gzip, "--best", Options{level: 9}, "--best"},
		{Gzip, "-n --rsyncable", Options{tool: true}, "-n --rsyncable"},
		{Gzip, "-9n", Options{tool: true}, "-9n"},
		{Gzip, "-0", Options{tool: true}, "-0"},
		{Zstd, "-q --rm -T0", Options{}, ""},
		{Zstd, "-19 -T0 --rm", Options{level: 19}, "-19"},
		{Zstd, "--ultra -22 --long=27", Options{level: 19}, "-19"},
		{Zstd, "--no-check -1", Options{level: 1, noCheck: true}, "--no-check -1"},
		{Zstd, "--fast=5", Options{tool: true}, "--fast=5"},
		{Gzip, " \t\n", Options{}, ""},
		{None, "", Options{}, ""},
	} {
		o, err := ParseOptions(test.c, test.opts)
		args := strings.Join(o.args, " ")
		same := o.format == test.c && o.level == test.want.level && o.dict == test.want.dict && o.noCheck == test.want.noCheck && o.tool == test.want.tool
		if err != nil || !same || args != test.args {
			t.Errorf("ParseOptions(%v, %q) = %+v, %v; want %+v with %q", test.c, test.opts, o, err, test.want, test.args)
		}
	}
}

func TestParseOptionsErrors(t *testing.T) {
	for _, test := range []struct {
		c          Compression
		opts, want string
	}{
		{XZ, "-d", "-d: it does not compress"},
		{XZ, "--suffix=.x", "--suffix"},
		{XZ, "--files=x", "--files"},
		{XZ, "-6 -- file", "-- is not an option"},
		{XZ, "-", "- is not an option"},
		{Gzip, "-S .x", "-S"},
		{Zstd, "-o out", "-o"},
		{Zstd, "--decompress", "--decompress"},
		{None, "-9", "-9"},
	} {
		o, err := ParseOptions(test.c, test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), test.c.String()+": ") {
			t.Errorf("ParseOptions(%v, %q) = %+v, %v; want an error with %q", test.c, test.opts, o, err, test.want)
		}
	}
}

// TestOptionsAgainstTools lets the tools say whether options exist: what they
// refuse is an error, and what they take is honoured unless the kernel cannot
// decode the result.
func TestOptionsAgainstTools(t *testing.T) {
	data := []byte(strings.Repeat("some data to compress ", 100))
	for c, list := range map[Compression][]string{
		XZ: {"-0e", "-6", "-10", "-T+2", "-T0", "--che=crc32", "-Ccrc64", "-C none", "--check=sha256", "--lzma2=", "--lzma2=dict=1MiB,,",
			"--lzma2=dict=1mb", "--lzma2=dict=1Mi", "--lzma2=dict=1MB", "--lzma2=dict=1", "--lzma2=dict=64MiB",
			"--lzma2=preset=9e", "--lzma2=preset=9e,dict=1K", "--lzma2=lc=4,lp=1", "--lzma2=lc=0,lp=4", "--x86 --lzma2", "--x86 -6",
			"--delta --lzma2", "--no", "--no-s", "--no-warn", "--threads 2", "--lzma2=mf=hc3", "--lzma2=mf=hc5", "--lzma2=nice=5",
			"--lzma2=nice=1", "--lzma2=depth=9", "--lzma2=mode=slow", "--fast", "--best", "--nothing", "-W", "-Q",
			"--block-size=4KiB", "--format=auto", "-F lzma", "--ignore-check", "--single-stream", "--lzma2 --lzma2", "-6w", "file.ko", "-V"},
		Gzip: {"-9n", "-19", "--fas", "--rsync", "-a", "-0", "--no-time", "-Z", "--synchronous", "--q",
			"--nothing", "-W", "-9kfqv", "--no-name=1"},
		Zstd: {"-T", "-T4q", "-25", "--ultra -22", "--fast=0", "--fast", "--fast=3", "--long", "--long=24", "-B64K", "-19q",
			"--no-name", "--thr=1", "--threads 1", "-M128", "--adapt=min=1", "--check", "-C", "--no-check", "--size-hint=10",
			"--zstd=wlog=10", "-z", "--compress", "--no-dictID", "--single-thread", "--rsyncable", "--nothing", "-D dict"},
	} {
		need(t, c.String())
		// Those that the tools take, and a kernel does not.
		foreign := []string{"-Ccrc64", "--check=sha256", "--x86 --lzma2", "--delta --lzma2", "-F lzma", "-V"}
		for _, opts := range list {
			_, toolErr := run(data, append([]string{c.String(), "-c"}, strings.Fields(opts)...)...)
			o, err := ParseOptions(c, opts)
			if err != nil {
				t.Errorf("ParseOptions(%v, %q): %v", c, opts, err)
				continue
			}
			out, err := Compress(t.Context(), runner(), c, o, data)
			if wrong := strings.Contains(strings.Join(foreign, "|")+"|", opts+"|"); toolErr != nil || wrong {
				_, refused := errors.AsType[*OptionsError](err)
				if !refused || !strings.Contains(err.Error(), strings.Join(o.args, " ")) {
					t.Errorf("Compress with %v %q: %v; the tool says %v", c, opts, err, toolErr)
				}
				continue
			}
			if err != nil {
				t.Errorf("Compress with %v %q: %v", c, opts, err)
			} else if back, err := run(out, c.String(), "-dc"); err != nil || string(back) != string(data) {
				t.Errorf("%v -d of what %q made: %v", c, opts, err)
			}
		}
	}
}

func TestCompressErrors(t *testing.T) {
	gz, err := ParseOptions(Gzip, "-9")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compress(t.Context(), nil, XZ, gz, nil); err == nil || !strings.Contains(err.Error(), "options are for gzip") {
		t.Errorf("Compress with another's options: %v", err)
	}
	only, err := ParseOptions(XZ, "-6e")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compress(t.Context(), nil, XZ, only, nil); err == nil || !strings.Contains(err.Error(), "xz is not installed") {
		t.Errorf("Compress with the tool's options and no tool: %v", err)
	}
	why := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		if _, err := Compress(ctx, nil, c, Options{}, []byte("data")); !errors.Is(err, why) {
			t.Errorf("Compress(%v) after cancel: %v; want %v", c, err, why)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, c := range []Compression{None, Gzip, XZ, Zstd} {
		f.Add(int(c), "-9n --lzma2=dict=1MiB,lc=1 -T0 --fast=3 --check=crc32")
	}
	f.Fuzz(func(t *testing.T, c int, opts string) {
		o, err := ParseOptions(Compression(c), opts)
		if err != nil {
			return
		}
		if o.format != Compression(c) || o.dict < 0 || o.dict > maxDict || o.level > zstdMaxLevel {
			t.Fatalf("ParseOptions(%d, %q) = %+v", c, opts, o)
		}
	})
}
