package initramfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/testkit"
)

const release = "6.1.0-1"

// sh runs a script in a directory.
func sh(t testing.TB, dir, script string) []byte {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, said.String())
	}
	return out
}

// files makes a directory with modules for two kernels and other files.
func files(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	sh(t, dir, `
		echo 'int main;' >a.c; gcc -g -c a.c; ld -r --build-id=sha1 -o built.ko a.o
		mkdir -p early/kernel/x86 main/usr/lib/modules/`+release+`/updates main/usr/lib/modules/other main/bin
		echo microcode >early/kernel/x86/code
		cp built.ko main/usr/lib/modules/`+release+`/updates/built.ko
		echo plain >main/usr/lib/modules/`+release+`/plain-text.ko
		echo plain | xz --check=crc32 >main/usr/lib/modules/`+release+`/packed.ko.xz
		echo plain >main/usr/lib/modules/flat.ko
		echo other >main/usr/lib/modules/other/plain-text.ko
		head -c 300000 /dev/zero >main/bin/zeros; seq 100000 >main/bin/numbers
		(cd early && find . | cpio -o -H newc --quiet) >early.cpio
		(cd main && find . | cpio -o -H newc --quiet) >main.cpio`)
	return dir
}

// TestRead: every form of an image that tools make is read, with the programs
// that they make it with.
func TestRead(t *testing.T) {
	testkit.Need(t, "cpio", "gzip", "xz", "zstd", "lz4", "bzip2", "lzma", "gcc", "ld", "strip")
	dir := files(t)
	sh(t, dir, "cat main/usr/lib/modules/"+release+"/updates/built.ko >whole.ko; strip -g -o stripped.ko whole.ko; cmp -s whole.ko stripped.ko && exit 1; true")
	for _, pack := range []string{
		"cat main.cpio",
		"gzip -c main.cpio", "xz --check=crc32 -c main.cpio", "zstd -q -c main.cpio", "zstd -q --ultra -22 --long=27 -c main.cpio",
		"lz4 -q -l -c main.cpio", "bzip2 -c main.cpio", "lzma -c main.cpio",
		"cat early.cpio; head -c 324 /dev/zero; zstd -q -c main.cpio",
		"cat early.cpio main.cpio", "gzip -c early.cpio; gzip -c main.cpio",
		"cat early.cpio; gzip -c main.cpio",
	} {
		image := filepath.Join(dir, "image")
		sh(t, dir, "("+pack+") >image")
		list, err := Read(image, release, nil)
		if err != nil {
			t.Errorf("%s: %v", pack, err)
			continue
		}
		got := map[string]Print{}
		for _, m := range list {
			got[m.Name] = m.Print
		}
		whole, _, err := PrintOfFile(filepath.Join(dir, "stripped.ko"))
		if err != nil || !strings.HasPrefix(string(whole), "build ") {
			t.Fatalf("PrintOfFile = %q, %v; want the identifier of the build", whole, err)
		}
		text, _, _ := PrintOf([]byte("plain\n"))
		if want := map[string]Print{"built": whole, "plain_text": text, "packed": text, "flat": text}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: modules = %v; want %v", pack, got, want)
		}
	}
	if list, err := Read(filepath.Join(dir, "main.cpio"), release, func(name string) bool { return name == "built" }); err != nil || len(list) != 4 {
		t.Errorf("Read() = %v, %v; want all names", list, err)
	}
}

// TestUnified: the initramfs of a unified kernel image is read, and its release.
func TestUnified(t *testing.T) {
	testkit.Need(t, "cpio", "zstd", "gcc", "ld", "xz")
	dir := files(t)
	file := filepath.Join(dir, "uki.efi")
	sections := []struct {
		name string
		data []byte
	}{{".uname", []byte(release + "\n\x00\x00")}, {".linux", []byte("MZ")}, {".initrd", sh(t, dir, "zstd -q -c main.cpio")}}
	// PE format: the offset of the signature at 0x3c, the signature, the file
	// header with the number of sections, 40 bytes for each of them.
	image := append([]byte("MZ"), make([]byte, 0x3e)...)
	image[0x3c] = 0x40
	image = append(image, "PE\x00\x00\x64\x86"...)
	image = binary.LittleEndian.AppendUint16(image, uint16(len(sections)))
	image = append(image, make([]byte, 16)...)
	at := uint32(len(image) + 40*len(sections))
	for _, s := range sections {
		head := make([]byte, 40)
		copy(head, s.name)
		for i, v := range []uint32{uint32(len(s.data)), 0x1000, uint32(len(s.data)), at} {
			binary.LittleEndian.PutUint32(head[8+4*i:], v)
		}
		image = append(image, head...)
		at += uint32(len(s.data))
	}
	for _, s := range sections {
		image = append(image, s.data...)
	}
	if err := os.WriteFile(file, image, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := UnifiedRelease(file); got != release {
		t.Errorf("UnifiedRelease() = %q; want %q", got, release)
	}
	if list, err := Read(file, release, nil); err != nil || len(list) != 4 {
		t.Errorf("Read() = %v, %v; want four modules", list, err)
	}
}

// TestDamaged: an image that was cut off is an error.
func TestDamaged(t *testing.T) {
	testkit.Need(t, "cpio", "gzip", "zstd", "lz4", "gcc", "ld", "xz")
	dir := files(t)
	for _, pack := range []string{"cat", "gzip -c", "zstd -q -c", "lz4 -q -l -c"} {
		whole := sh(t, dir, pack+" main.cpio")
		for _, n := range []int{50, len(whole) / 2} {
			if err := os.WriteFile(filepath.Join(dir, "cut"), whole[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(filepath.Join(dir, "cut"), release, nil); err == nil {
				t.Errorf("%s: %d of %d bytes are read without an error", pack, n, len(whole))
			}
		}
	}
}

// FuzzRead: no image makes the reader panic or take more memory than its bounds.
func FuzzRead(f *testing.F) {
	dir := files(f)
	for _, pack := range []string{"cat early.cpio", "gzip -c early.cpio", "zstd -q -c early.cpio", "lz4 -q -l -c early.cpio", "xz -c early.cpio"} {
		f.Add(sh(f, dir, pack))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &reading{release: release}
		r.image(bytes.NewReader(data))
		if r.records > maxRecords+1 || r.bytes > maxBytes+1<<20 {
			t.Errorf("%d records, %d bytes", r.records, r.bytes)
		}
	})
}
