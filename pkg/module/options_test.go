package module

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"
)

func TestParseOptionsXZ(t *testing.T) {
	const miB = 1 << 20
	for opts, want := range map[string]struct {
		dict    int
		noCheck bool
		tool    bool
		props   lzma.Properties
	}{
		"--check=crc32 --lzma2=dict=1MiB":      {dict: miB},
		"--check=crc32 --lzma2=dict=1MiB -6":   {dict: 8 * miB},
		"--check=crc32 -6 --lzma2=dict=1MiB":   {dict: miB},
		"--check=crc32":                        {dict: 8 * miB},
		"-q -T0 -f -k -v":                      {dict: 8 * miB},
		"-0":                                   {dict: miB / 4},
		"-10":                                  {dict: miB / 4},
		"-9vfT4":                               {dict: 64 * miB},
		"-vT 4 -3":                             {dict: 4 * miB},
		"--threads 2 -2":                       {dict: 2 * miB},
		"--threads=2 --fast":                   {dict: miB / 4},
		"--best":                               {dict: 64 * miB},
		"-6e":                                  {dict: 8 * miB, tool: true},
		"-e --lzma2=dict=64K":                  {dict: 64 << 10},
		"--lzma2=dict=64K -e":                  {dict: 8 * miB, tool: true},
		"--lzma2=preset=9e":                    {dict: 64 * miB, tool: true},
		"--lzma2=mf=hc4,dict=2MiB":             {dict: 2 * miB, tool: true},
		"--lzma2=nice=64":                      {dict: 8 * miB, tool: true},
		"--lzma2=nice=64,preset=1":             {dict: miB},
		"--lzma2=dict=1m,lc=0,lp=2,pb=1,":      {dict: miB, props: lzma.Properties{LC: 0, LP: 2, PB: 1}},
		"--lzma2":                              {dict: 8 * miB},
		"-Cnone -1":                            {dict: miB, noCheck: true},
		"-C none --check crc32":                {dict: 8 * miB},
		"--che=none":                           {dict: 8 * miB, noCheck: true},
		"--x86 --lzma2=dict=1MiB -4":           {dict: 4 * miB},
		"--block-size=1MiB --lzma2=dict=1MiB":  {dict: miB, tool: true},
		"-F xz --format=auto --lzma2=dict=max": {dict: 1536 * miB},
	} {
		o, err := ParseOptions(XZ, opts)
		if err != nil || o.dict != want.dict || o.noCheck != want.noCheck || o.tool != want.tool {
			t.Errorf("ParseOptions(xz, %q) = %+v, %v; want %+v", opts, o, err, want)
		}
		if want.props != (lzma.Properties{}) && (o.props == nil || *o.props != want.props) {
			t.Errorf("ParseOptions(xz, %q): properties %v; want %v", opts, o.props, want.props)
		}
	}
}

func TestParseOptionsLevels(t *testing.T) {
	for _, test := range []struct {
		c       Compression
		opts    string
		level   int
		noCheck bool
		tool    bool
	}{
		{Gzip, "-9", 9, false, false},
		{Gzip, "-9n", 9, false, false},
		{Gzip, "-19", 9, false, false},
		{Gzip, "-9 -1 --no-name -q -f", 1, false, false},
		{Gzip, "--best --fast", 1, false, false},
		{Gzip, "--bes -kv", 9, false, false},
		{Gzip, "-n --rsyncable", 0, false, true},
		{Zstd, "-q --rm -T0", 0, false, false},
		{Zstd, "-19 -T0 --rm", 19, false, false},
		{Zstd, "-19q -T4f", 19, false, false},
		{Zstd, "--ultra -22 --long=27", 19, false, false},
		{Zstd, "-T0 --long -9 -3", 3, false, false},
		{Zstd, "--fast", -1, false, false},
		{Zstd, "--fast=5 --no-check", -5, true, false},
		{Zstd, "--no-check --check -1", 1, false, false},
		{Zstd, "--no-check -C -1", 1, false, false},
		{Zstd, "--threads 4 --adapt=min=1 --auto-threads=logical", 0, false, false},
		{Zstd, "--rsyncable", 0, false, true},
		{Zstd, "-B64K", 0, false, true},
		{Zstd, "--zstd=wlog=20 -6", 6, false, true},
		{Gzip, " \t\n", 0, false, false},
		{None, "", 0, false, false},
	} {
		o, err := ParseOptions(test.c, test.opts)
		if err != nil || o.level != test.level || o.noCheck != test.noCheck || o.tool != test.tool {
			t.Errorf("ParseOptions(%v, %q) = %+v, %v; want %+v", test.c, test.opts, o, err, test)
		}
	}
}

func TestParseOptionsErrors(t *testing.T) {
	for _, test := range []struct {
		c          Compression
		opts, want string
	}{
		{XZ, "--check=crc64", "--check=crc64: the kernel cannot decode"},
		{XZ, "-C sha256", "the kernel cannot decode"},
		{XZ, "--check=md5", "unknown check"},
		{XZ, "--check", "--check needs a value"},
		{XZ, "--x86 --lzma2", "--x86"},
		{XZ, "--delta --lzma2", "--delta"},
		{XZ, "--lzma1", "--lzma1"},
		{XZ, "--format=lzma", "--format=lzma"},
		{XZ, "--wrong -6", "unknown option --wrong"},
		{XZ, "-6w", "unknown option -w"},
		{XZ, "--no", "--no is ambiguous"},
		{XZ, "--keep=1", "--keep takes no value"},
		{XZ, "-d", "-d: it does not compress"},
		{XZ, "--suffix=.x", "--suffix"},
		{XZ, "file.ko", "file.ko is not an option"},
		{XZ, "-6 -- file", "-- is not an option"},
		{XZ, "-", "- is not an option"},
		{XZ, "--lzma2=dict=1MiB --lzma2=dict=1MiB", "only one"},
		{XZ, "--lzma2=dict=1mb", "dict=1mb: not a number"},
		{XZ, "--lzma2=dict=1KiB", "dict=1KiB: not in the range"},
		{XZ, "--lzma2=dict=99999999999999999999", "not a number"},
		{XZ, "--lzma2=dict=18446744073709551615G", "not in the range"},
		{XZ, "--lzma2=dict=", "not a number"},
		{XZ, "--lzma2=lc=4,lp=1", "must not exceed 4"},
		{XZ, "--lzma2=mf=zz", "not one of"},
		{XZ, "--lzma2=foo=1", "foo=1: no such setting"},
		{XZ, "--lzma2=preset=10", "no such preset"},
		{Gzip, "-0", "-0"},
		{Gzip, "--M", "unknown option --M"},
		{Gzip, "--=x", "ambiguous"},
		{Gzip, "--wrong", "unknown option --wrong"},
		{Gzip, "-S .x", "-S"},
		{Gzip, "-9T0", "unknown option -T"},
		{Zstd, "--wrong", "unknown option --wrong"},
		{Zstd, "--thr=1", "unknown option --thr"},
		{Zstd, "-T 4", "4 is not an option"},
		{Zstd, "--fast=0", "--fast=0"},
		{Zstd, "--fast=x", "--fast=x"},
		{Zstd, "-D dict", "-D"},
		{Zstd, "--patch-from=x", "--patch-from"},
		{Zstd, "--format=xz", "--format=xz"},
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

// TestOptionsAgainstTools lets the tools say whether options exist. What they
// do not know must be an error here; what they compress with must be either
// the same here or refused with a reason.
func TestOptionsAgainstTools(t *testing.T) {
	data := []byte(strings.Repeat("some data to compress ", 100))
	refused := []string{noDecode, noOther, noCompress, "that is not", "the kernel cannot decode"}
	for c, list := range map[Compression][]string{
		XZ: {"-0e", "-6", "-10", "-T+2", "-T0", "--che=crc32", "-Ccrc64", "-C none", "--check=sha256", "--lzma2=", "--lzma2=dict=1MiB,,",
			"--lzma2=dict=1mb", "--lzma2=dict=1Mi", "--lzma2=dict=1MB", "--lzma2=dict=1G", "--lzma2=dict=1", "--lzma2=dict=max",
			"--lzma2=preset=9e", "--lzma2=preset=9e,dict=1K", "--lzma2=lc=4,lp=1", "--lzma2=lc=0,lp=4", "--x86 --lzma2", "--x86 -6",
			"--delta --lzma2", "--no", "--no-s", "--no-warn", "--threads 2", "--lzma2=mf=hc3", "--lzma2=mf=hc5", "--lzma2=nice=5",
			"--lzma2=nice=1", "--lzma2=depth=9", "--lzma2=mode=slow", "--fast", "--best", "--nothing", "-W", "--robot", "-Q",
			"--block-size=4KiB", "--format=auto", "-F lzma", "--ignore-check", "--single-stream", "--lzma2 --lzma2"},
		Gzip: {"-9n", "-19", "--fas", "--rsync", "-a", "-m", "-M", "--no-na", "-0", "--no-time", "-Z", "-r", "--synchronous", "--q",
			"--nothing", "-W", "-9kfqv", "--no-name=1"},
		Zstd: {"-T", "-T4q", "-0", "-25", "--ultra -22", "--fast=0", "--fast", "--fast=3", "--long", "--long=24", "-B64K", "-19q",
			"--no-name", "--thr=1", "--threads 1", "-M128", "--adapt=min=1", "-p5", "--check", "-C", "--no-check", "--size-hint=10",
			"--zstd=wlog=10", "-z", "--compress", "-r", "-n", "--no-dictID", "--single-thread", "--rsyncable", "--nothing", "-W"},
	} {
		need(t, c.String())
		for _, opts := range list {
			_, toolErr := run(data, append([]string{c.String(), "-c"}, strings.Fields(opts)...)...)
			o, err := ParseOptions(c, opts)
			if err != nil {
				known := false
				for _, reason := range refused {
					known = known || strings.Contains(err.Error(), reason)
				}
				if toolErr == nil && !known {
					t.Errorf("ParseOptions(%v, %q): %v; the tool takes it", c, opts, err)
				}
				continue
			}
			out, err := Compress(t.Context(), runner(), c, o, data)
			if toolErr != nil {
				t.Errorf("ParseOptions(%v, %q) is fine; the tool says %v", c, opts, toolErr)
			} else if err != nil {
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
		if o.format != Compression(c) || o.dict < 0 || o.dict > xzMaxDict || o.level > zstdMaxLevel {
			t.Fatalf("ParseOptions(%d, %q) = %+v", c, opts, o)
		}
	})
}
