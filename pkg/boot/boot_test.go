package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// machine writes files below a new root.
func machine(t *testing.T, files map[string]string) system.Host {
	t.Helper()
	dir := t.TempDir()
	lay(t, dir, files)
	return system.Host{Root: system.Root{Dir: dir}}
}

// lay writes files below dir; a name that ends with / is a directory, and
// contents that begin with -> make a link.
func lay(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch target, link := strings.CutPrefix(text, "->"); {
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		case link:
			must(t, os.Symlink(target, path))
		default:
			must(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// two are two kernels of Debian.
func two(more map[string]string) map[string]string {
	files := map[string]string{
		"lib/modules/6.12.9-amd64/kernel/":          "",
		"lib/modules/6.12.10-amd64/modules.builtin": "",
		"boot/vmlinuz-6.12.9-amd64":                 "x",
		"boot/vmlinuz-6.12.10-amd64":                "x",
		"boot/vmlinuz-6.12.10-amd64.old":            "x",
		"boot/initrd.img-6.12.10-amd64":             "x",
	}
	for name, text := range more {
		files[name] = text
	}
	return files
}

func TestKernels(t *testing.T) {
	h := machine(t, two(map[string]string{
		// A kernel that was removed: its headers stay.
		"lib/modules/6.1.0-13-amd64/build":             "->/usr/src/linux-headers-6.1.0-13-amd64",
		"lib/modules/6.1.0-13-amd64/updates/dkms/x.ko": "x",
		"lib/modules/6.12.9-amd64/build/include/":      "",
		"boot/kernel-6.6.1-gentoo":                     "x",
		"boot/vmlinux-6.6.2":                           "x",
		"lib/modules/6.9.1-fedora/vmlinuz":             "x",
		"boot/vmlinuz-0-rescue-0123456789abcdef":       "x",
		"lib/modules/6.15.1-arch1-1/pkgbase":           "linux\n",
		"lib/modules/6.15.1-arch1-1/kernel/":           "",
		"boot/vmlinuz-linux":                           "x",
		"efi/loader/entries/m-6.16.0.conf":             "title X\nlinux /m/6.16.0/linux\n",
		"efi/m/6.16.0/linux":                           "x",
		"efi/loader/entries/m-6.17.0.conf":             "title gone\nversion 6.17.0\nlinux /m/6.17.0/linux\n",
		"boot/vmlinuz-6.12.9-amd64.efi.signed":         "x", "boot/vmlinuz-6.12.11-amd64.dpkg-new": "x",
		"boot/memtest86+x64.bin":      "x",
		"boot/config-6.12.9-amd64":    "x",
		"lib/modules/.hidden/kernel/": "",
	}))
	want := map[string]string{
		"6.6.1-gentoo": "boot/kernel-6.6.1-gentoo", "6.6.2": "boot/vmlinux-6.6.2", "6.9.1-fedora": "lib/modules/6.9.1-fedora/vmlinuz",
		"6.12.9-amd64": "boot/vmlinuz-6.12.9-amd64", "6.12.10-amd64": "boot/vmlinuz-6.12.10-amd64",
		"6.15.1-arch1-1": "boot/vmlinuz-linux",
	}
	var order []string
	for _, k := range Kernels(h.Root) {
		order = append(order, k.Release)
		if image, ok := want[k.Release]; ok && k.Image != h.Root.Path("/"+image) {
			t.Errorf("%s: image %s; want %s", k.Release, k.Image, image)
		}
		if k.Headers != (k.Release == "6.12.9-amd64") {
			t.Errorf("%s: headers %v", k.Release, k.Headers)
		}
	}
	if got := strings.Join(order, " "); got != "6.6.1-gentoo 6.6.2 6.9.1-fedora 6.12.9-amd64 6.12.10-amd64 6.15.1-arch1-1 6.16.0" {
		t.Errorf("kernels: %s", got)
	}
}

func TestNoLoader(t *testing.T) {
	tests := []struct {
		files     map[string]string
		want, why string
	}{
		{two(nil), "", "no boot loader was found"},
		{map[string]string{"lib/modules/6.1/kernel/": "", "boot/vmlinuz-6.1": "x"}, "6.1", "the only kernel"},
		{nil, "", "no kernel image"},
		{two(map[string]string{"vmlinuz": "->boot/vmlinuz-6.12.9-amd64"}), "6.12.9-amd64", "vmlinuz leads to it"},
		{two(map[string]string{"vmlinuz": "->/boot/vmlinuz-6.12.9-amd64"}), "6.12.9-amd64", "vmlinuz leads to it"},
		{two(map[string]string{"boot/firmware/config.txt": "x", "vmlinuz": "->boot/vmlinuz-6.12.9-amd64"}), "", "the firmware of the Raspberry Pi"},
		{two(map[string]string{"efi/EFI/refind/refind.conf": "x"}), "", "rEFInd"},
		{two(map[string]string{"usr/share/flash-kernel/": "", "etc/default/flash-kernel": "x"}), "6.12.10-amd64", "newest"},
	}
	for i, tt := range tests {
		if n := Look(machine(t, tt.files)).Next; n.Release != tt.want || !strings.Contains(n.Why, tt.why) {
			t.Errorf("%d: Next = %+v; want %q, %q", i, n, tt.want, tt.why)
		}
	}
}

func TestExtlinux(t *testing.T) {
	const labels = `menu title U-Boot menu
timeout 20
label l0
	menu label Debian 6.12.10
	linux /boot/vmlinuz-6.12.10-amd64
	initrd /boot/initrd.img-6.12.10-amd64
label l1
	KERNEL ../vmlinuz-6.12.9-amd64
label gone
	linux /vmlinuz-6.12.7-amd64
label disk
	localboot 0x80
`
	const recent, old = "6.12.10-amd64", "6.12.9-amd64"
	tests := []struct{ text, want, why string }{
		{"default l1\n" + labels, old, `"l1"`},
		{labels, recent, `"l0"`},
		{"DEFAULT l0\nONTIMEOUT l1\n" + labels, old, `"l1"`},
		{"ui vesamenu.c32\n" + labels + "label l2\nmenu default\nlinux /vmlinuz-6.12.9-amd64\n", old, `"l2"`},
		{"default menu.c32\nprompt 0\n" + labels, recent, `"l0"`},
		{"default menu.c32\ninclude more.cfg\n", old, `"l2"`},
		{"default menu.c32\nmenu include /boot/extlinux/more.cfg extra\n", old, `"l2"`},
		{"include extlinux.conf\ndefault l1\n" + labels, old, `"l1"`},
		{"default /vmlinuz-6.12.9-amd64\n", old, ""},
		{"default gone\n" + labels, "", "that is not here"},
		{"default disk\n" + labels, "", "starts no Linux kernel"},
		{"default none\n" + labels, "", "starts no Linux kernel"},
		{"menu\nlabel\n", "", "starts no Linux kernel"},
	}
	for _, tt := range tests {
		h := machine(t, two(map[string]string{
			"boot/extlinux/extlinux.conf": tt.text, "boot/extlinux/more.cfg": "label l2\nlinux /vmlinuz-6.12.9-amd64\n",
		}))
		if n := Look(h).Next; n.Release != tt.want || n.Loader != "extlinux" || !strings.Contains(n.Why, tt.why) {
			t.Errorf("%q: Next = %+v; want %q, %q", tt.text, n, tt.want, tt.why)
		}
	}
}

// need skips a test that lacks a judge, or fails it under CI.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing", p)
		}
		t.Skipf("%s is missing", p)
	}
}
