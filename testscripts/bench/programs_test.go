//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dkms/testscripts/chroot"
)

const (
	sizeLimit  = 8 << 20
	startLimit = 3 * time.Millisecond
)

// programs measures the programs themselves: how large they are, and how long
// they take to start.
func programs(t *testing.T, tab *table, c chroot.Pair) {
	for _, name := range []string{"/usr/sbin/dkms", "/usr/lib/dkms/dkms-hook"} {
		st, err := os.Stat(filepath.Join(c.Ours, name))
		chroot.Check(t, err)
		tab.atMost("size of "+filepath.Base(name), megabytes(st.Size()), figure{}, megabytes(sizeLimit), "")
	}
	p := bootPair(t, c)
	bare := &side{m: p.ours, argv: []string{"/tmp/bare"}}
	ours, theirs := &side{m: p.ours, argv: []string{"/usr/sbin/dkms", "--version"}}, &side{m: p.theirs, argv: []string{"/usr/sbin/dkms", "--version"}}
	turns(t, 3, repeat(ours, 15), repeat(bare, 15), repeat(theirs, 3))
	hello := bare.median()
	tab.atMost("start (--version)", ours.median(), theirs.median(), seconds(startLimit), fmt.Sprintf(" (hello world %s)", hello.text))
}

// measured are the benchmarks of the rooms: those that report ratios
// themselves, and pairs of which one is the other's judge.
var measured = []struct {
	pkg, bench, short string
	// times is -benchtime.
	times string
	// judge is the benchmark of the program that ours is compared with, where
	// the ratio is not a metric.
	judge string
	// faster and size are the targets, 0 for none.
	faster, size float64
}{
	{pkg: "./pkg/module", bench: "BenchmarkCompress", short: "BenchmarkCompress/.*/1000k", times: "3x", faster: 2, size: 1.25},
	{pkg: "./testscripts/fleet", bench: "BenchmarkImport", short: "BenchmarkImport", times: "5x", faster: 2},
	{pkg: "./pkg/sign", bench: "BenchmarkSign(File)?", short: "BenchmarkSign(File)?/1M", times: "20x", judge: "BenchmarkSignFile", faster: 2},
}

// rooms reads what the benchmarks of the rooms say.
func rooms(t *testing.T, tab *table) {
	for _, m := range measured {
		pattern := m.bench
		if short() {
			pattern = m.short
		}
		results := gobench(t, m.pkg, pattern, m.times)
		for _, r := range results {
			own, rest, _ := strings.Cut(r.name, "/")
			name := strings.TrimSpace(filepath.Base(m.pkg) + ": " + strings.ToLower(strings.TrimPrefix(own, "Benchmark")) + " " + rest)
			switch {
			case m.judge == "":
				tab.metrics(name, r, m.faster, m.size)
			case own != m.judge:
				for _, j := range results {
					if j.name == m.judge+"/"+rest {
						tab.faster(name, r.time(), j.time(), m.faster)
					}
				}
			}
		}
	}
}

// result is one line of go test -bench.
type result struct {
	name  string
	units map[string]float64
}

func (r result) time() figure { return seconds(time.Duration(r.units["ns/op"])) }

// metrics is a row of a benchmark that has compared by itself.
func (t *table) metrics(name string, r result, faster, size float64) {
	f, s := r.units["x-faster"], r.units["x-size"]
	line := row{
		Name: name, Ratio: fmt.Sprintf("%.1fx faster, %.2fx size", f, s),
		Target: fmt.Sprintf(">= %gx, <= %gx", faster, size), OK: f >= faster && s <= size,
	}
	if s == 0 {
		line.Ratio, line.Target, line.OK = fmt.Sprintf("%.1fx faster", f), fmt.Sprintf(">= %gx", faster), f >= faster
	}
	t.add(line, figure{0, "-"}, figure{0, "-"})
}

// gobench runs benchmarks and reads their results.
func gobench(t *testing.T, pkg, pattern, times string) []result {
	t.Helper()
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", "^"+strings.ReplaceAll(pattern, "/", "$/^")+"$", "-benchtime", times, pkg)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	var list []result
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		r := result{words[0][:strings.LastIndexByte(words[0], '-')], map[string]float64{}}
		for i := 2; i+1 < len(words); i += 2 {
			r.units[words[i+1]], _ = strconv.ParseFloat(words[i], 64)
		}
		list = append(list, r)
	}
	return list
}
