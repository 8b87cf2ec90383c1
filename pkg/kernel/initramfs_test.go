package kernel

import (
	"os"
	"slices"
	"strings"
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
		if list := (&Kernel{root: root, Release: release}).Initramfs(); len(list) != 1 {
			t.Errorf("%s: %d images", c.name, len(list))
		} else if list[0].tool != nil {
			got = list[0].tool.program
		}
		if got != c.want {
			t.Errorf("%s: Initramfs() = %q; want %q", c.name, got, c.want)
		}
	}
}

// TestInitramfsImages: images are found wherever they are for a kernel, and no
// others.
func TestInitramfsImages(t *testing.T) {
	root := newRoot(t, "boot/initrd.img-"+release, "boot/initrd.img-"+release+"-other", "boot/0123456789abcdef/"+release+"/initrd",
		"efi/0123456789abcdef/other/initrd", "boot/initramfs-linux.img", "boot/initramfs-linux-lts.img", "boot/efi/EFI/Linux/damaged.efi", "usr/bin/kernel-install")
	write(t, root.Path("lib/modules/"+release+"/pkgbase"), "linux\n")
	if err := os.Chmod(root.Path("usr/bin/kernel-install"), 0o755); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range New(root, release, "x86_64", Options{}).Initramfs() {
		got = append(got, strings.TrimPrefix(i.Image, root.Dir)+" "+strings.Join(i.Command(release), " "))
	}
	vmlinuz := root.Path("lib/modules/" + release + "/vmlinuz")
	want := []string{
		"/boot/initrd.img-" + release + " ", "/boot/initramfs-linux.img ",
		"/boot/0123456789abcdef/" + release + "/initrd kernel-install add " + release + " " + vmlinuz,
	}
	if !slices.Equal(got, want) {
		t.Errorf("Initramfs() = %q; want %q", got, want)
	}
}

// TestInitramfsOfSeveralTools: an image is made again by the tool that made it, and
// as its preset says.
func TestInitramfsOfSeveralTools(t *testing.T) {
	programs := []string{"usr/bin/mkinitcpio", "usr/bin/lsinitcpio", "usr/bin/booster"}
	root := newRoot(t, append(programs, "boot/initramfs-linux.img", "boot/initramfs-"+release+".img", "boot/booster-linux.img")...)
	write(t, root.Path("lib/modules/"+release+"/pkgbase"), "linux\n")
	write(t, root.Path("etc/mkinitcpio.d/linux.preset"), "PRESETS=('default')\n#default_image=\"/boot/initramfs-"+release+".img\"\ndefault_image=\"/boot/initramfs-linux.img\"\n")
	for _, p := range programs {
		if err := os.Chmod(root.Path(p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, i := range New(root, release, "x86_64", Options{}).Initramfs() {
		got = append(got, strings.ReplaceAll(strings.Join(i.Command(release), " "), root.Dir, ""))
	}
	want := []string{
		"mkinitcpio -k " + release + " -g /boot/initramfs-" + release + ".img", "mkinitcpio -p linux",
		"booster build --force --kernel-version " + release + " /boot/booster-linux.img",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Initramfs() is made again by %q; want %q", got, want)
	}
}

// TestInitramfsDemands: the configuration of each tool names modules in its own
// way, and a comment names none.
func TestInitramfsDemands(t *testing.T) {
	for i, c := range []struct{ file, text string }{
		{"etc/initramfs-tools/modules", "# foo\nfoo-bar option=1\n"},
		{"etc/dracut.conf.d/x.conf", "add_drivers+=\" other foo_bar \"\n"},
		{"etc/mkinitcpio.conf", "MODULES=(other foo_bar)\nHOOKS=(none)\n"},
		{"etc/booster.yaml", "modules: foo_bar,other\n"},
	} {
		root := newRoot(t)
		write(t, root.Path(c.file), c.text)
		image := &Initramfs{tool: &initramfsTools[i], root: root}
		if !image.Demands("foo_bar") || image.Demands("foo") || image.Demands("none") {
			t.Errorf("%s: Demands(foo_bar, foo, none) = %v, %v, %v", c.file, image.Demands("foo_bar"), image.Demands("foo"), image.Demands("none"))
		}
	}
}
