package boot

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"dkms/pkg/system"
)

// versions are compared with each other, all with all.
var versions = []string{
	"", "1", "1.0", "01", "6.12.9", "6.12.10", "6.12.10-amd64", "6.12.10~rc1", "6.12.10^1", "6.12.107-cloud", "a", "A", "1a", "1-a",
	"~", "~~", "-", "6.12.9-200.fc40.x86_64", "arch1", "18446744073709551617", "18446744073709551616",
}

// TestCompareSystemd asks systemd itself.
func TestCompareSystemd(t *testing.T) {
	need(t, "systemd-analyze")
	if out, err := exec.Command("systemd-analyze", "compare-versions", "1", "lt", "2").CombinedOutput(); err != nil {
		t.Skipf("systemd-analyze cannot compare versions: %s", out)
	}
	for i, a := range versions {
		for _, b := range versions[i:] {
			err := exec.Command("systemd-analyze", "compare-versions", a, b).Run()
			want := 0
			if status, ok := errors.AsType[*exec.ExitError](err); ok {
				want = map[int]int{11: 1, 12: -1}[status.ExitCode()]
			}
			if got := compareSystemd(a, b); sign(got) != want {
				t.Errorf("compareSystemd(%q, %q) = %d; want %d", a, b, got, want)
			}
		}
	}
}

// TestCompareRPM asks rpm itself. To that a dash is the end of a version, and a
// caret has come to mean something, which GRUB does not know.
func TestCompareRPM(t *testing.T) {
	need(t, "rpm")
	for i, a := range versions {
		for _, b := range versions[i:] {
			if strings.ContainsAny(a+b, "^-") || a == "" || b == "" {
				continue
			}
			out, err := exec.Command("rpm", "--eval", `%{lua: print(rpm.vercmp("`+a+`", "`+b+`"))}`).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := sign(compareRPM(a, b)); strings.TrimSpace(string(out)) != []string{"-1", "0", "1"}[got+1] {
				t.Errorf("compareRPM(%q, %q) = %d; want %s", a, b, got, out)
			}
		}
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

// partition is a boot partition of systemd-boot with entries that are hard to
// order.
func partition(more map[string]string) map[string]string {
	files := map[string]string{
		"boot/loader/loader.conf":         "timeout 3\n",
		"boot/EFI/systemd/":               "",
		"boot/loader/entries.srel":        "type1\n",
		"boot/loader/entries/auto-x.conf": "title no\nlinux /m/6.12.9/linux\n",
		"boot/loader/entries/gone.conf":   "title gone\nversion 9\nsort-key a\nlinux /gone\n",
	}
	for file, keys := range map[string]string{
		"m-6.12.9.conf": "", "m-6.12.10+3.conf": "", "m-6.12.107+0-3.conf": "", "z-6.1.0.conf": "-", "M-6.12.11+2-1.conf": "",
	} {
		_, release, _ := strings.Cut(strings.TrimSuffix(file, ".conf"), "-")
		release, _, _ = strings.Cut(release, "+")
		text := "title T " + release + "\nversion " + release + "\nlinux /m/" + release + "/linux\n"
		if keys != "-" {
			text += "sort-key debian\nmachine-id 0123456789abcdef0123456789abcdef\n"
		}
		files["boot/loader/entries/"+file] = text
		files["boot/m/"+release+"/linux"] = "x"
		files["lib/modules/"+release+"/kernel/"] = ""
	}
	for name, text := range more {
		files[name] = text
	}
	return files
}

// TestBootctl holds the order against that of bootctl.
func TestBootctl(t *testing.T) {
	need(t, "bootctl", "unshare", "mount")
	if os.Getuid() != 0 {
		t.Skip("only root can have a boot partition")
	}
	h := machine(t, partition(nil))
	script := `mount --make-rprivate / && mkdir "$1/esp" && mount -t tmpfs none "$1/esp" && cp -r "$1/boot/." "$1/esp" && chmod 755 "$1/esp" &&
SYSTEMD_RELAX_ESP_CHECKS=1 SYSTEMD_RELAX_XBOOTLDR_CHECKS=1 bootctl --esp-path="$1/esp" --boot-path="$1/esp" --json=short list`
	out, err := exec.Command("unshare", "-m", "sh", "-c", script, "sh", h.Root.Dir).Output()
	if err != nil {
		t.Skipf("bootctl cannot work here: %v", err)
	}
	// Old versions print an object a line, new ones an array.
	var want, got []string
	for dec := json.NewDecoder(strings.NewReader(strings.NewReplacer("[", "", "]", "", "},{", "}{").Replace(string(out)))); dec.More(); {
		var e struct{ ID, Version string }
		must(t, dec.Decode(&e))
		if e.Version != "9" && !strings.HasPrefix(e.ID, "auto-") {
			want = append(want, e.Version)
		}
	}
	for _, e := range sortedForSystemd(readEntries(h.Root, loaderDirs(h.Root))) {
		if e.image != "" {
			got = append(got, e.version)
		}
	}
	if len(want) < 5 || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("order %v; want %v", got, want)
	}
}

// efiText is an EFI variable with a text, as efivarfs has it.
func efiText(text string) string {
	data := []byte{6, 0, 0, 0}
	for _, u := range utf16.Encode([]rune(text + "\x00")) {
		data = binary.LittleEndian.AppendUint16(data, u)
	}
	return string(data)
}

// efiOption is an active load option with the path of a file.
func efiOption(description, path string) string {
	name := efiText(path)[4:]
	node := "\x04\x04" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(name)+4))) + name
	disk := "\x04\x01\x06\x00xx" // a node of another kind
	if path == "" {
		node = ""
	}
	length := binary.LittleEndian.AppendUint16(nil, uint16(len(disk)+len(node)+4))
	return "\x01\x00\x00\x00" + string(length) + efiText(description)[4:] + disk + node + "\x7f\xff\x04\x00"
}

func TestSystemdBoot(t *testing.T) {
	const efi = "sys/firmware/efi/efivars/"
	started := map[string]string{efi + "LoaderInfo" + loaderGUID: efiText("systemd-boot 257.13-1")}
	with := func(more ...string) map[string]string {
		files := map[string]string{}
		for name, text := range started {
			files[name] = text
		}
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = more[i+1]
		}
		return files
	}
	tests := []struct {
		files            map[string]string
		want, then, text string
	}{
		{with(), "6.12.11", "", "first entry"},
		{with("boot/loader/loader.conf", "default m-6.12.9*\n"), "6.12.9", "", "loader.conf"},
		{with("boot/loader/loader.conf", "default none\n"), "6.12.11", "", "first entry"},
		{with("boot/loader/loader.conf", "default @saved\n", efi+"LoaderEntryLastBooted"+loaderGUID, efiText("z-6.1.0.conf")), "6.1.0", "", "LastBooted"},
		{with("boot/loader/loader.conf", "default m-6.12.9*\n", efi+"LoaderEntryDefault"+loaderGUID, efiText("m-6.12.10.conf")), "6.12.10", "", "LoaderEntryDefault"},
		{with(efi+"LoaderEntryDefault"+loaderGUID, efiText("m-6.12.107.conf")), "6.12.107", "", "LoaderEntryDefault"},
		{with(efi+"LoaderEntryOneShot"+loaderGUID, efiText("z-6.1.0.conf")), "6.1.0", "6.12.11", "LoaderEntryOneShot"},
		{with(efi+"LoaderEntryOneShot"+loaderGUID, efiText("auto-windows")), "", "6.12.11", "no Linux kernel"},
		{with(efi+"BootNext"+globalGUID, "\a\x00\x00\x00\x03\x00", efi+"BootCurrent"+globalGUID, "\x06\x00\x00\x00\x01\x00",
			efi+"Boot0003"+globalGUID, "\a\x00\x00\x00"+"\x01\x00\x00\x00"+"\x04\x00"+efiText("Windows Boot Manager")[4:]), "", "", "Windows Boot Manager once"},
		{with(efi+"BootNext"+globalGUID, "\a\x00\x00\x00\x01\x00", efi+"BootCurrent"+globalGUID, "\x06\x00\x00\x00\x01\x00"), "6.12.11", "", ""},
		{with("efi/EFI/Linux/6.12.9.efi", "x", "efi/loader/", "", efi+"BootOrder"+globalGUID, "\a\x00\x00\x00\x04\x00\x02\x00\x01\x00", efi+"BootCurrent"+globalGUID, "\x06\x00\x00\x00\x01\x00",
			efi+"Boot0004"+globalGUID, "\a\x00\x00\x00"+efiOption("Network", ""),
			efi+"Boot0002"+globalGUID, "\a\x00\x00\x00"+efiOption("Linux", `\EFI\Linux\6.12.9.efi`)), "6.12.9", "", "Boot0002"},
		{with("sys/kernel/kexec_loaded", "1\n"), "", "", "kexec"},
		{with("run/nextroot/etc/os-release", "ID=x\n"), "6.12.9", "", "soft"},
		// GRUB's menu is there, too, but did not start this machine.
		{with("boot/grub/grub.cfg", "menuentry x { linux /m/6.12.9/linux\n}\n"), "6.12.11", "", "first entry"},
		{map[string]string{"boot/grub/grub.cfg": "menuentry x { linux /m/6.12.9/linux\n}\n"}, "", "", "do not agree"},
	}
	for i, tt := range tests {
		h := machine(t, partition(tt.files))
		s := &search{root: h.Root, kernels: Kernels(h.Root), efi: readFirmware(h.Root)}
		n, decided := s.beforeLoader("6.12.9")
		if !decided {
			n = s.loaders()
		}
		if n.Release != tt.want || n.Then != tt.then || n.Once != (tt.then != "") || !strings.Contains(n.Why, tt.text) && !strings.Contains(n.Loader, tt.text) {
			t.Errorf("%d: Next = %+v; want %q, then %q, %q", i, n, tt.want, tt.then, tt.text)
		}
		// An image is never asked about the firmware of the machine that it is on.
		if n := Look(h).Next; strings.Contains(n.Why, "EFI variable") {
			t.Errorf("%d: Next of an image = %+v", i, n)
		}
	}
}

// TestUnified reads a real PE file with the sections of a unified kernel image.
func TestUnified(t *testing.T) {
	need(t, "objcopy")
	stubs, _ := filepath.Glob("/usr/lib/systemd/boot/efi/linux*.efi.stub")
	if len(stubs) == 0 {
		t.Skip("no EFI stub of systemd is installed")
	}
	h := machine(t, map[string]string{
		"uname": "6.12.10-amd64", "osrel": "ID=debian\nPRETTY_NAME=\"Debian 13\"\nVERSION_ID=13\n", "boot/EFI/Linux/": "", "boot/loader/": "",
		"lib/modules/6.12.10-amd64/kernel/": "",
	})
	image := h.Root.Path("/boot/EFI/Linux/debian+2-1.efi")
	out, err := exec.Command("objcopy", "--add-section", ".uname="+h.Root.Path("/uname"), "--change-section-vma", ".uname=0x10000",
		"--add-section", ".osrel="+h.Root.Path("/osrel"), "--change-section-vma", ".osrel=0x20000", stubs[0], image).CombinedOutput()
	if err != nil {
		t.Skipf("%v: %s", err, out)
	}
	list := readEntries(h.Root, loaderDirs(h.Root))
	if len(list) != 1 || list[0].id != "debian.efi" || list[0].left != 2 || list[0].done != 1 || list[0].title != "Debian 13" || list[0].version != "6.12.10-amd64" {
		t.Errorf("entries: %+v", list)
	}
	if k := Kernels(h.Root); len(k) != 1 || k[0].Image != image {
		t.Errorf("kernels: %+v", k)
	}
}

// TestRealImage reads the header of a real kernel, where one is installed.
func TestRealImage(t *testing.T) {
	images, _ := filepath.Glob("/boot/vmlinuz-*")
	if len(images) == 0 {
		t.Skip("no kernel is installed")
	}
	for _, path := range images {
		f, _, err := system.OpenRegular(path)
		must(t, err)
		defer f.Close()
		want := strings.TrimPrefix(filepath.Base(path), "vmlinuz-")
		if got := x86Release(f); got != want {
			t.Errorf("x86Release(%s) = %q", path, got)
		}
	}
}
