package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// newSmall is a machine with this system's depmod and a kernel of a few
// modules.
func newSmall(t testing.TB) *machine {
	t.Helper()
	for _, program := range []string{"depmod", "xz", "zstd"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") != "" {
			t.Fatal(err)
		} else if err != nil {
			t.Skip(err)
		}
	}
	m := &machine{work: t.TempDir(), release: "6.1.0-test", rand: rand.New(rand.NewPCG(3, 4))}
	m.tree.Dir = filepath.Join(m.base("ours"), "lib/modules", m.release)
	m.tree.Symvers = m.base("Module.symvers")
	m.kernel(t)
	m.prepare(t)
	return m
}

// kernel writes a kernel's modules, of which each uses some before it.
func (m *machine) kernel(t testing.TB) {
	t.Helper()
	var order, symvers strings.Builder
	symvers.WriteString("0x00000000\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x00000000\tspaced\tvmlinux\tEXPORT_SYMBOL\tSPACE\n")
	for i := range 70 {
		name := fmt.Sprintf("intree-%02d", i)
		k := made{crcs: i%3 != 0, info: []string{
			fmt.Sprintf("alias=of:N*T*Cvendor,%sC*", name), fmt.Sprintf("alias=pci:v0000%04Xd*", i%7), "license=GPL",
		}}
		for j := range i % 4 {
			k.exports = append(k.exports, fmt.Sprintf("in_%d_%d", i, j))
		}
		for range m.rand.IntN(4) {
			if used := m.rand.IntN(i + 1); used%4 > 0 && used < i {
				k.imports = append(k.imports, fmt.Sprintf("in_%d_%d", used, m.rand.IntN(used%4)))
			}
		}
		file := fmt.Sprintf("kernel/drivers/d%d/%s.ko", i%5, name)
		put(t, filepath.Join(m.tree.Dir, file), k.bytes())
		order.WriteString(file + "\n")
		for _, s := range k.exports {
			fmt.Fprintf(&symvers, "0x00000000\t%s\t%s\tEXPORT_SYMBOL\t\n", s, strings.TrimSuffix(file, ".ko"))
		}
	}
	for name, text := range map[string]string{
		"modules.order": order.String(), "modules.builtin": "kernel/built/in.ko\n",
		"modules.builtin.modinfo": "in.license=GPL\x00in.alias=cpu:type-x86\x00",
	} {
		check(t, os.WriteFile(filepath.Join(m.tree.Dir, name), []byte(text), 0o644))
	}
	check(t, os.WriteFile(m.tree.Symvers, []byte(symvers.String()), 0o644))
}

// TestUpdateIsDepmods has many small changes made, each on top of the last, and
// judged by this system's depmod.
func TestUpdateIsDepmods(t *testing.T) {
	m := newSmall(t)
	for range 20 {
		m.sequence(t, 3)
	}
	m.report(t)
}
