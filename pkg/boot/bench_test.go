package boot

import (
	"fmt"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// BenchmarkLook is for a machine with four kernels and the menu of GRUB: check
// has 50 ms for all that it does.
func BenchmarkLook(b *testing.B) {
	dir := b.TempDir()
	files := map[string]string{"boot/grub/grub.cfg": fmt.Sprintf(head, "${saved_entry}") + strings.Repeat(entries, 8), "boot/grub/grubenv": environmentBlock("saved_entry=advanced>a9")}
	for i := range 4 {
		files[fmt.Sprintf("lib/modules/6.12.%d-amd64/kernel/", i+8)] = ""
		files[fmt.Sprintf("boot/vmlinuz-6.12.%d-amd64", i+8)] = "x"
	}
	lay(b, dir, files)
	h := system.Host{Root: system.Root{Dir: dir}}
	for b.Loop() {
		if m := Look(h); m.Next.Release != "6.12.9-amd64" || len(m.Kernels) != 4 {
			b.Fatalf("%+v", m)
		}
	}
}
