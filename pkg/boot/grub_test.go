package boot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// head is the beginning of a menu whose default can be set for one time.
const head = `
# a comment with 'one quote
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="%s"
fi
function load_video {
  if [ x$all = xy ]; then insmod all_video; else
    insmod vga
  fi
}
`

const entries = `
menuentry 'Linux' --class os $menuentry_id_option 'simple' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	linux	/boot/vmlinuz-6.12.10-amd64 root=/dev/vda ro
	initrd	/boot/initrd.img-6.12.10-amd64
}
submenu 'More > others' $menuentry_id_option 'advanced' {
	menuentry 'Linux 6.12.10' --class os $menuentry_id_option 'a10' {
		linux /@/boot/vmlinuz-6.12.10-amd64 root=/dev/vda
	}
	menuentry "Linux \"6.12.9\"" --hotkey=9 --id a9 { linux /vmlinuz-6.12.9-amd64 ; }
}
if [ "$grub_platform" = "efi" ]; then
	menuentry 'Firmware settings' --id fw {
		fwsetup
	}
fi
menuentry 'Windows' --id win { chainloader /EFI/Microsoft/Boot/bootmgfw.efi }
`

// environmentBlock is a grubenv.
func environmentBlock(lines ...string) string {
	text := "# GRUB Environment Block\n" + strings.Join(lines, "\n") + "\n"
	return text + strings.Repeat("#", 1024-len(text))
}

func TestGrub(t *testing.T) {
	const old, recent = "6.12.9-amd64", "6.12.10-amd64"
	tests := []struct{ def, env, want, why string }{
		{"0", "", recent, `default of`},
		{"1>1", "", old, `"1>1"`},
		{"1>0", "", recent, ""},
		{"1", "", recent, ""},
		{"simple", "", recent, ""},
		{"advanced>a9", "", old, ""},
		{`More >> others>Linux \"6.12.9\"`, "", old, ""},
		{"gone", "", recent, "the menu's first entry"},
		{"99", "", recent, "the menu's first entry"},
		{"win", "", "", "starts no Linux kernel"},
		{"3", "", "", "decided when the menu is shown"},
		{"${saved_entry}", "", recent, "has no saved_entry"},
		{"${saved_entry}", "saved_entry=advanced>a9", old, "saved_entry of"},
		{"0", "saved_entry=advanced>a9", recent, "default of"},
		{"0", "next_entry=advanced>a9", old, "next_entry of"},
		{"$unknown", "", recent, "has no unknown"},
	}
	for _, tt := range tests {
		files := two(map[string]string{"boot/grub/grub.cfg": fmt.Sprintf(head, tt.def) + entries})
		if tt.env != "" {
			files["boot/grub/grubenv"] = environmentBlock(tt.env)
		}
		n := Look(machine(t, files)).Next
		if n.Release != tt.want || !strings.Contains(n.Why, tt.why) || n.Loader != "GRUB" {
			t.Errorf("default %q, %q: Next = %+v; want %q, %q", tt.def, tt.env, n, tt.want, tt.why)
		}
		once := strings.HasPrefix(tt.env, "next_entry")
		if n.Once != once || once && n.Then != recent {
			t.Errorf("%q: Next = %+v; want once %v", tt.env, n, once)
		}
	}
}

// TestGrubEntries reads what Fedora has: entries of the Boot Loader
// Specification at a point of the menu.
func TestGrubEntries(t *testing.T) {
	menu := fmt.Sprintf(head, "${saved_entry}") + "insmod blscfg\nblscfg\n"
	for env, want := range map[string]string{"": "6.12.10-amd64", "saved_entry=m-6.12.9-amd64": "6.12.9-amd64", "saved_entry=1": "6.12.9-amd64"} {
		h := machine(t, two(map[string]string{
			"boot/grub2/grub.cfg":                      menu,
			"boot/grub2/grubenv":                       environmentBlock(env),
			"boot/loader/entries/m-6.12.9-amd64.conf":  "title old\nversion 6.12.9-amd64\nlinux /vmlinuz-6.12.9-amd64\n",
			"boot/loader/entries/m-6.12.10-amd64.conf": "title new\nversion 6.12.10-amd64\nlinux /vmlinuz-6.12.10-amd64\n",
			"boot/loader/entries/m-0-rescue.conf":      "title rescue\nversion 0-rescue-m\nlinux /vmlinuz-0-rescue-m\n",
			"boot/vmlinuz-0-rescue-m":                  "x",
			"boot/loader/entries/.hidden.conf":         "title x\nlinux /vmlinuz-6.12.9-amd64\n",
		}))
		if n := Look(h).Next; n.Release != want || n.Loader != "GRUB" {
			t.Errorf("%q: Next = %+v; want %s", env, n, want)
		}
	}
}

// TestGrubMkconfig has the real programs write menu and environment, in a
// mount namespace with a /boot of its own.
func TestGrubMkconfig(t *testing.T) {
	need(t, "grub-mkconfig", "grub-editenv", "unshare", "mount")
	if os.Getuid() != 0 {
		t.Skip("only root can have a /boot of its own")
	}
	tests := []struct{ def, submenu, set, want string }{
		{"0", "", "", "7.2.1+deb14-amd64"},
		{"saved", "", "saved_entry=1>4", "6.12.10-amd64"},
		{"saved", "", "next_entry=Advanced options for Test GNU/Linux>Test GNU/Linux, with Linux 6.12.9-amd64", "6.12.9-amd64"},
		{"2", "y", "", "6.12.107-rt-amd64"},
		{"Test GNU/Linux, with Linux 6.12.10-amd64", "", "", "6.12.10-amd64"},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, "boot/grub"), 0o755))
		for _, k := range []string{"6.12.9-amd64", "6.12.10-amd64", "6.12.107-rt-amd64", "7.2.1+deb14-amd64"} {
			must(t, os.WriteFile(filepath.Join(dir, "boot/vmlinuz-"+k), nil, 0o644))
			must(t, os.MkdirAll(filepath.Join(dir, "lib/modules", k, "kernel"), 0o755))
		}
		must(t, os.MkdirAll(filepath.Join(dir, "default"), 0o755))
		config := fmt.Sprintf("GRUB_DISTRIBUTOR=Test\nGRUB_DEFAULT='%s'\nGRUB_DISABLE_SUBMENU=%s\nGRUB_DISABLE_OS_PROBER=true\n", tt.def, tt.submenu)
		must(t, os.WriteFile(filepath.Join(dir, "default/grub"), []byte(config), 0o644))
		script := `mount --make-rprivate / && mount --bind "$1/boot" /boot && mount --bind "$1/default" /etc/default || exit
grub-editenv /boot/grub/grubenv create && if [ -n "$2" ]; then grub-editenv /boot/grub/grubenv set "$2"; fi && grub-mkconfig -o /boot/grub/grub.cfg`
		out, err := exec.Command("unshare", "-m", "sh", "-c", script, "sh", dir, tt.set).CombinedOutput()
		if err != nil {
			t.Skipf("grub-mkconfig cannot work here: %v\n%s", err, out)
		}
		n := Look(system.Host{Root: system.Root{Dir: dir}}).Next
		if n.Release != tt.want {
			t.Errorf("GRUB_DEFAULT=%s, %s: Next = %+v; want %s", tt.def, tt.set, n, tt.want)
		}
	}
}

func FuzzMenu(f *testing.F) {
	f.Add(head + entries)
	f.Add("menuentry 'x\\")
	f.Add("submenu {{ }\"$")
	f.Fuzz(func(t *testing.T, text string) {
		g := grub{search: &search{root: system.Root{Dir: "/nonexistent"}}, menu: parseMenu(text)}
		g.next()
	})
}
