//go:build index

package index

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkUpdate is one driver in a whole tree: INDEX_SUITE says whose.
func BenchmarkUpdate(b *testing.B) {
	m := newMachine(b, os.Getenv("INDEX_SUITE"))
	m.rand = rand.New(rand.NewPCG(1, 2))
	file := filepath.Join(m.tree.Dir, "updates/dkms/bench.ko")
	var used time.Duration
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		m.tick(b)
		if i%2 == 0 {
			put(b, file, made{info: []string{"alias=pci:v1234"}, imports: []string{"printk"}}.bytes())
		} else {
			check(b, os.Remove(file))
		}
		b.StartTimer()
		before := processTime()
		_, err := m.tree.Update()
		used += processTime() - before
		check(b, err)
	}
	b.ReportMetric(float64(used.Microseconds())/float64(b.N)/1000, "cpu-ms/op")
}
