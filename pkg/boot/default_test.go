package boot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// TestGrubEnvironment holds what is written against what grub-editenv writes and
// reads.
func TestGrubEnvironment(t *testing.T) {
	need(t, "grub-editenv")
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	edit := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("grub-editenv", args...).Output()
		must(t, err)
		return string(out)
	}
	edit(theirs, "create")
	for _, step := range []struct{ name, value string }{
		{"saved_entry", "advanced>a9"}, {"other", `back\slash \ and # and =`}, {"lines", "one\ntwo"},
		{"saved_entry", "a"}, {"other", ""}, {"none", ""}, {"saved_entry", ""}, {"saved", "x"}, {"saved_entry", "b"},
	} {
		if step.value == "" {
			edit(theirs, "unset", step.name)
		} else {
			edit(theirs, "set", step.name+"="+step.value)
		}
		must(t, setInGrubEnv(ours, step.name, step.value))
		if got, want := sorted(edit(ours, "list")), sorted(edit(theirs, "list")); got != want {
			t.Errorf("%v: grub-editenv reads %q; want %q", step, got, want)
		}
		if got := readGrubEnv(ours)[step.name]; got != step.value {
			t.Errorf("%v: read %q", step, got)
		}
		if got := readGrubEnv(theirs)[step.name]; got != step.value {
			t.Errorf("%v: of grub-editenv read %q", step, got)
		}
		if st, err := os.Stat(ours); err != nil || st.Size() != 1024 || st.Mode().Perm() != 0o644 {
			t.Errorf("%v: %v, %v", step, st, err)
		}
	}
	full := []byte(environmentBlock("a=" + strings.Repeat("x", 980)))
	must(t, os.WriteFile(ours, full, 0o600))
	if err := setInGrubEnv(ours, "saved_entry", strings.Repeat("y", 40)); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a full block: %v", err)
	}
	if data, _ := os.ReadFile(ours); string(data) != string(full) {
		t.Errorf("a full block was changed")
	}
	must(t, os.WriteFile(ours, []byte("something else"), 0o600))
	if err := setInGrubEnv(ours, "saved_entry", "x"); err == nil {
		t.Error("something else was taken for an environment block")
	}
	must(t, os.WriteFile(ours, nil, 0o600)) // what a power cut in grub-editenv can leave
	must(t, setInGrubEnv(ours, "saved_entry", "x"))
	if got := edit(ours, "list"); got != "saved_entry=x\n" {
		t.Errorf("of an empty file: %q", got)
	}
}

// sorted sorts the lines of a text.
func sorted(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

// TestGrubDefault sets the default of a menu that grub-mkconfig has written, and
// wants it to last when another kernel is installed.
func TestGrubDefault(t *testing.T) {
	need(t, "grub-mkconfig", "grub-editenv", "unshare", "mount")
	if os.Getuid() != 0 {
		t.Skip("only root can have a /boot of its own")
	}
	for _, submenu := range []string{"", "y"} {
		dir := t.TempDir()
		h := system.Host{Root: system.Root{Dir: dir}}
		lay(t, dir, map[string]string{"boot/grub/": "", "default/grub": "GRUB_DISTRIBUTOR=Test\nGRUB_DEFAULT=saved\nGRUB_DISABLE_SUBMENU=" + submenu + "\nGRUB_DISABLE_OS_PROBER=true\n"})
		configure := func(release string) {
			t.Helper()
			lay(t, dir, map[string]string{"boot/vmlinuz-" + release: "", "lib/modules/" + release + "/kernel/": ""})
			script := `mount --make-rprivate / && mount --bind "$1/boot" /boot && mount --bind "$1/default" /etc/default && grub-mkconfig -o /boot/grub/grub.cfg`
			if out, err := exec.Command("unshare", "-m", "sh", "-c", script, "sh", dir).CombinedOutput(); err != nil {
				t.Skipf("grub-mkconfig cannot work here: %v\n%s", err, out)
			}
		}
		configure("6.12.9-amd64")
		configure("6.12.10-amd64")
		for _, release := range []string{"6.12.9-amd64", "6.12.10-amd64"} {
			d, err := FindDefault(h)
			must(t, err)
			must(t, d.Set(d.Entry(release)))
			for _, newer := range []string{"6.12.11-" + release, "7.2.1-" + release} {
				if d, err = FindDefault(h); err != nil || d.Release != release || !d.Lasting {
					t.Errorf("submenu %q, %s, before %s: %+v, %v", submenu, release, newer, d, err)
				}
				if n := Look(h).Next; n.Release != release {
					t.Errorf("submenu %q, %s: Next = %+v", submenu, release, n)
				}
				configure(newer)
			}
			if d, err = FindDefault(h); err != nil || d.Release != release {
				t.Errorf("submenu %q, %s, afterwards: %+v, %v", submenu, release, d, err)
			}
			must(t, d.Set(""))
			if n := Look(h).Next; n.Release != "7.2.1-"+release {
				t.Errorf("submenu %q, %s, removed: Next = %+v", submenu, release, n)
			}
			must(t, os.RemoveAll(filepath.Join(dir, "boot/vmlinuz-7.2.1-"+release)))
			must(t, os.RemoveAll(filepath.Join(dir, "boot/vmlinuz-6.12.11-"+release)))
			configure("6.12.10-amd64")
		}
	}
}

// TestGrubReads has GRUB's own code read what was set from the disk as it is at that
// moment, as after a power cut: GRUB replays no journal.
func TestGrubReads(t *testing.T) {
	need(t, "grub-fstest", "mkfs.ext4", "mount", "umount")
	dir := t.TempDir()
	disk, mnt := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	must(t, os.Mkdir(mnt, 0o755))
	must(t, os.WriteFile(disk, nil, 0o644))
	must(t, os.Truncate(disk, 16<<20))
	if out, err := exec.Command("sh", "-c", `mkfs.ext4 -q "$1" && mount -o loop "$1" "$2"`, "sh", disk, mnt).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted: %v\n%s", err, out)
	}
	t.Cleanup(func() { must(t, exec.Command("umount", mnt).Run()) })
	lay(t, mnt, two(map[string]string{"boot/grub/grub.cfg": fmt.Sprintf(head, "${saved_entry}") + entries}))
	d, err := FindDefault(system.Host{Root: system.Root{Dir: mnt}})
	must(t, err)
	for i := range 10 {
		value := fmt.Sprintf("entry-%d", i)
		must(t, d.Set(value))
		out, err := exec.Command("grub-fstest", disk, "cat", "/boot/grub/grubenv").CombinedOutput()
		if want := "\nsaved_entry=" + value + "\n"; err != nil || len(out) != 1024 || !strings.Contains(string(out), want) {
			t.Fatalf("GRUB reads %q, %v; want %q", out, err, want)
		}
	}
}

// TestDefault has the files of boot loaders, and what becomes of their default.
func TestDefault(t *testing.T) {
	const old, recent = "6.12.9-amd64", "6.12.10-amd64"
	const labels = "label l0\n  linux /vmlinuz-6.12.10-amd64\nlabel l0r\n  linux /vmlinuz-6.12.10-amd64\nlabel l1\n  linux /vmlinuz-6.12.9-amd64\nlabel x-6.12.9-amd64\n  linux /vmlinuz-6.12.9-amd64\n"
	saved := fmt.Sprintf(head, "${saved_entry}")
	bls := map[string]string{
		"boot/loader/entries/m-6.12.9-amd64.conf":  "title old\nversion 6.12.9-amd64\nlinux /vmlinuz-6.12.9-amd64\n",
		"boot/loader/entries/m-6.12.10-amd64.conf": "title new\nversion 6.12.10-amd64\nlinux /vmlinuz-6.12.10-amd64\n",
	}
	tests := []struct {
		name                 string
		files                map[string]string
		fixed                string
		loader, value, entry string
		release              string
		lasting              bool
	}{
		{"nothing", nil, "no boot loader was found", "", "", "", "", false},
		{"GRUB, ids", map[string]string{"boot/grub/grub.cfg": saved + entries, "boot/grub/grubenv": environmentBlock("saved_entry=simple")}, "", "GRUB", "simple", "advanced>a9", recent, false},
		{"GRUB, not saved", map[string]string{"boot/grub/grub.cfg": fmt.Sprintf(head, "0") + entries}, "grub.cfg is fixed", "", "", "", "", false},
		{"GRUB, titles", map[string]string{"boot/grub/grub.cfg": saved + "submenu 'A > B' {\nmenuentry 'Linux 6.12.9-amd64 (recovery)' { linux /vmlinuz-6.12.9-amd64\n}\nmenuentry 'Linux 6.12.9-amd64' { linux /vmlinuz-6.12.9-amd64\n}\n}\n"}, "", "GRUB", "", "A >> B>Linux 6.12.9-amd64", old, false},
		{"GRUB, perhaps", map[string]string{"boot/grub/grub.cfg": saved + "if [ x$y = x ]; then\nmenuentry 'Linux' --id a { linux /vmlinuz-6.12.9-amd64\n}\nfi\n"}, "", "GRUB", "", "", "", false},
		{"GRUB, one start", map[string]string{"boot/grub/grub.cfg": saved + entries, "boot/grub/grubenv": environmentBlock("prev_saved_entry=a9")}, "an entry for one start", "", "", "", "", false},
		{"GRUB, elsewhere", map[string]string{"boot/grub/grub.cfg": saved + entries, "boot/grub/grubenv": environmentBlock("env_block=512+1")}, "is not where GRUB keeps", "", "", "", "", false},
		{"GRUB, entries", with(bls, "boot/grub2/grub.cfg", saved+"blscfg\n", "boot/grub2/grubenv", environmentBlock("saved_entry=m-6.12.10-amd64")), "", "GRUB", "m-6.12.10-amd64", "m-6.12.9-amd64", recent, true},
		{"GRUB, a link", map[string]string{"boot/grub2/grub.cfg": saved + entries, "boot/grub2/grubenv": "->../efi/grubenv", "boot/efi/grubenv": environmentBlock("saved_entry=a10")}, "", "GRUB", "a10", "advanced>a9", recent, false},
		{"loader.conf", with(bls, "boot/loader/loader.conf", "timeout 3\n"), "", "systemd-boot", "", "m-6.12.9-amd64.conf", recent, false},
		{"loader.conf, pattern", with(bls, "boot/loader/loader.conf", "default m-6.12.10*\n"), "", "systemd-boot", "m-6.12.10*", "m-6.12.9-amd64.conf", recent, false},
		{"loader.conf, name", with(bls, "boot/loader/loader.conf", "default\tm-6.12.10-amd64.conf\n"), "", "systemd-boot", "m-6.12.10-amd64.conf", "m-6.12.9-amd64.conf", recent, true},
		{"loader.conf, preferred", with(bls, "boot/loader/loader.conf", "preferred m-6.12.10*\n"), "comes before the default", "", "", "", "", false},
		{"extlinux", map[string]string{"boot/extlinux/extlinux.conf": "DEFAULT l0\n" + labels}, "", "extlinux", "l0", "l1", recent, false},
		{"extlinux, nothing", map[string]string{"boot/extlinux/extlinux.conf": labels}, "", "extlinux", "", "l1", recent, false},
		{"extlinux, menu", map[string]string{"boot/extlinux/extlinux.conf": "default menu.c32\n" + labels}, "", "extlinux", "", "l1", recent, false},
		{"extlinux, timeout", map[string]string{"boot/extlinux/extlinux.conf": "default l1\nontimeout l0\n" + labels}, "", "extlinux", "l0", "l1", recent, false},
		{"extlinux, MENU DEFAULT", map[string]string{"boot/extlinux/extlinux.conf": labels + "menu default\n"}, "MENU DEFAULT", "", "", "", "", false},
		{"extlinux, include", map[string]string{"boot/extlinux/extlinux.conf": "include more\n" + labels, "boot/extlinux/more": "default l1\n"}, "in a file that it includes", "", "", "", "", false},
		{"two", map[string]string{"boot/extlinux/extlinux.conf": labels, "boot/grub/grub.cfg": saved + entries}, "are both set up here", "", "", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := machine(t, two(tt.files))
			d, err := FindDefault(h)
			if tt.fixed != "" {
				if fixed, ok := errors.AsType[*Fixed](err); !ok || !strings.Contains(err.Error(), tt.fixed) || fixed.Why == "" {
					t.Errorf("FindDefault = %+v, %v; want %q", d, err, tt.fixed)
				}
				return
			}
			must(t, err)
			if d.Loader != tt.loader || d.Value != tt.value || d.Release != tt.release || d.Lasting != tt.lasting || d.Entry(old) != tt.entry {
				t.Fatalf("FindDefault = %+v, entry %q; want %+v", d, d.Entry(old), tt)
			}
			if d.Entry("6.12.99") != "" {
				t.Errorf("Entry of a kernel that is not there = %q", d.Entry("6.12.99"))
			}
			if tt.entry != "" {
				setAndBack(t, h, d, old)
			}
		})
	}
}

// with adds files to others.
func with(files map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, text := range files {
		all[name] = text
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// setAndBack makes a kernel the default, and then what was the default before.
func setAndBack(t *testing.T, h system.Host, d *Default, release string) {
	t.Helper()
	before, was := d.Value, Look(h).Next.Release
	must(t, d.Set(d.Entry(release)))
	if n := Look(h).Next; n.Release != release {
		t.Errorf("set to %s: Next = %+v", release, n)
	}
	d, err := FindDefault(h)
	must(t, err)
	if d.Release != release || d.Value != d.Entry(release) {
		t.Errorf("set to %s: %+v", release, d)
	}
	must(t, d.Set(before))
	if n := Look(h).Next; n.Release != was {
		t.Errorf("set back: Next = %+v; want %s", n, was)
	}
}

// TestDefaultVariable sets what systemd-boot keeps in the firmware.
func TestDefaultVariable(t *testing.T) {
	h := machine(t, partition(map[string]string{variables + "/LoaderInfo" + loaderGUID: efiText("systemd-boot 257.13-1")}))
	s := &search{root: h.Root, kernels: Kernels(h.Root), efi: readFirmware(h.Root)}
	d, err := s.defaultOf()
	must(t, err)
	if d.Loader != "systemd-boot" || d.Value != "" || d.Release != "6.12.11" || d.Entry("6.12.9") != "m-6.12.9.conf" || d.Entry("6.12.107") != "m-6.12.107.conf" {
		t.Fatalf("default = %+v", d)
	}
	path := h.Root.Path(variables + "/LoaderEntryDefault" + loaderGUID)
	must(t, d.Set("m-6.12.9.conf"))
	data, err := os.ReadFile(path)
	must(t, err)
	if want := "\a" + efiText("m-6.12.9.conf")[1:]; string(data) != want {
		t.Errorf("the variable is %q; want %q", data, want)
	}
	if d, err = s.defaultOf(); err != nil || d.Release != "6.12.9" || !d.Lasting {
		t.Errorf("default = %+v, %v", d, err)
	}
	must(t, d.Set(""))
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the variable is still there: %v", err)
	}
	s.efi.loader = "rEFInd"
	if d, err := s.defaultOf(); err == nil || err.(*Fixed).Loader != "rEFInd" {
		t.Errorf("another loader: %+v, %v", d, err)
	}
}
