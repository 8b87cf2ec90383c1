package kernel

import (
	"os"
	"testing"
)

// TestInitramfsTool: the tool is the one that can both list and make an image.
func TestInitramfsTool(t *testing.T) {
	const image = "boot/initrd.img-" + release
	for _, c := range []struct {
		name     string
		programs []string
		want     string
	}{
		{"initramfs-tools", []string{"usr/sbin/update-initramfs", "usr/bin/lsinitramfs"}, "update-initramfs"},
		{"dracut", []string{"usr/bin/dracut", "usr/bin/lsinitrd"}, "dracut"},
		{"Debian's dracut", []string{"usr/sbin/update-initramfs", "usr/bin/dracut", "usr/bin/lsinitrd"}, "dracut"},
		{"mkinitcpio", []string{"usr/bin/mkinitcpio", "usr/bin/lsinitcpio"}, "mkinitcpio"},
		{"one that makes and does not list", []string{"usr/sbin/update-initramfs"}, ""},
		{"one that lists and does not make", []string{"usr/bin/lsinitramfs"}, ""},
	} {
		root := newRoot(t, append(c.programs, image)...)
		for _, p := range c.programs {
			if err := os.Chmod(root.Path(p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		if i := (&Kernel{root: root, Release: release}).Initramfs(); i != nil {
			got = i.tool.program
		}
		if got != c.want {
			t.Errorf("%s: Initramfs() = %q; want %q", c.name, got, c.want)
		}
	}
}
