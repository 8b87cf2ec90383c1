//go:build bench

package bench

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"dkms/testscripts/chroot"
)

// TestBench measures everything and prints the table. BENCH=short leaves out
// what takes long, BENCH_JSON names the file for the figures. What depends on
// how busy the machine is only says that it has missed its target; the rest
// fails.
func TestBench(t *testing.T) {
	for _, program := range []string{"strace", "nsenter", "dpkg-deb", "apt-get"} {
		_, err := exec.LookPath(program)
		chroot.Need(t, err == nil, program+" is not installed")
	}
	kernels := realKernels(t)
	original, err := chroot.FindOriginal("3.0.10")
	chroot.Check(t, err)
	c, tab := chroot.Prepare(t, original), &table{}
	sources := download(t)

	t.Run("programs", func(t *testing.T) { programs(t, tab, c) })
	for _, s := range []scene{{20, 1}, {100, 1}, {20, 5}} {
		t.Run("idle-"+s.String(), func(t *testing.T) { idle(t, tab, c, s) })
	}
	for _, s := range []scene{{20, 1}, {34, 4}} {
		if !short() || s.kernels == 1 {
			t.Run("originals-"+s.String(), func(t *testing.T) { originals(t, tab, c, s) })
		}
	}
	t.Run("hello", func(t *testing.T) { one(t, tab, c, sources, kernels[0], "hello", "1.0") })
	t.Run("acpi-call", func(t *testing.T) { one(t, tab, c, sources, kernels[0], "acpi-call", "1.2.2") })
	t.Run("autoinstall-1", func(t *testing.T) { many(t, tab, c, sources, kernels[:1], rounds(3, 1)) })
	if !short() {
		t.Run("autoinstall-3", func(t *testing.T) { many(t, tab, c, sources, kernels, 1) })
	}
	t.Run("rooms", func(t *testing.T) { rooms(t, tab) })

	fmt.Printf("\n%v\n", tab)
	if path := os.Getenv("BENCH_JSON"); path != "" {
		chroot.Check(t, tab.write(path))
	}
	for _, r := range tab.rows {
		if r.exact && !r.OK {
			t.Errorf("%s: %s; want %s", r.Name, r.Ours, r.Target)
		}
	}
}

func short() bool { return os.Getenv("BENCH") == "short" }

// rounds is how often something is measured.
func rounds(full, inShort int) int {
	if short() {
		return inShort
	}
	return max(full, 1)
}

func cpus() int { return runtime.GOMAXPROCS(0) }

// turn is a side that runs several times when it is its turn.
type turn struct {
	*side
	times int
}

func repeat(s *side, times int) turn { return turn{s, times} }

// turns runs the sides one after the other, and that n times.
func turns(t testing.TB, n int, list ...turn) {
	t.Helper()
	for range n {
		for _, s := range list {
			for range s.times {
				s.once(t)
			}
		}
	}
}

// buildBare builds the program that does nothing but start.
func buildBare(t testing.TB) string {
	t.Helper()
	bin := t.TempDir() + "/bare"
	chroot.Check(t, chroot.Run("sh", "-c", `CGO_ENABLED=0 exec go build -trimpath -ldflags "-s -w" -o "$0" ./bare`, bin))
	return bin
}
