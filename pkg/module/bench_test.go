package module

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkms/pkg/system"
)

// BenchmarkCompress runs ours and the tool in turn in the same run: "x-faster"
// is how many times faster ours is (the target is 2), "x-size" how many times
// larger its output (the target is 1.25 at most).
func BenchmarkCompress(b *testing.B) {
	for _, size := range []int{50_000, 1_000_000, 20_000_000} {
		data := machineCode(b, size)
		for _, bench := range []struct {
			c    Compression
			opts string
		}{
			{XZ, "--check=crc32 --lzma2=dict=1MiB"}, {Gzip, ""}, {Gzip, "-9"}, {Zstd, "-3"}, {Zstd, "-19"},
		} {
			o, err := ParseOptions(bench.c, bench.opts)
			if err != nil {
				b.Fatal(err)
			}
			tool := o
			tool.tool = true
			name := fmt.Sprintf("%v%s/%dk", bench.c, strings.ReplaceAll(bench.opts, " ", ""), size/1000)
			b.Run(name, func(b *testing.B) {
				need(b, bench.c.String())
				var took [2]time.Duration
				var got [2]int
				b.SetBytes(int64(size))
				for b.Loop() {
					for i, o := range []Options{o, tool} {
						start := time.Now()
						var host *system.Runner
						if o.tool {
							host = runner()
						}
						out, err := pack(b.Context(), host, bench.c, o, data)
						if err != nil {
							b.Fatal(err)
						}
						took[i] += time.Since(start)
						got[i] = len(out)
					}
				}
				b.ReportMetric(float64(took[1])/float64(took[0]), "x-faster")
				b.ReportMetric(float64(got[0])/float64(got[1]), "x-size")
			})
		}
	}
}

// BenchmarkVerify is what the check of a result costs on top.
func BenchmarkVerify(b *testing.B) {
	data := machineCode(b, 1_000_000)
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		out, err := Compress(b.Context(), nil, c, Options{}, data)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := verify(c, out, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRead reads a fresh module as built, plain and compressed.
func BenchmarkRead(b *testing.B) {
	m := buildModules(b)
	data := readFile(b, m.second)
	for _, c := range []Compression{None, XZ, Zstd} {
		packed, err := Compress(b.Context(), nil, c, Options{}, data)
		if err != nil {
			b.Fatal(err)
		}
		path := writeFile(b, filepath.Join(b.TempDir(), "judge-second.ko"+c.Suffix()), packed)
		b.Run(c.String()+"/ours", func(b *testing.B) {
			for b.Loop() {
				if _, err := Read(path); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.String()+"/modinfo", func(b *testing.B) {
			for b.Loop() {
				output(b, "modinfo", path)
			}
		})
	}
}
