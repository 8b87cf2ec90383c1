//go:build vm

package vm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// bootModules are what the initramfs needs to mount the disk.
var bootModules = []string{"virtio_pci", "virtio_blk", "ext4"}

func (i image) kernel(release string) string    { return filepath.Join(i.dir, "vmlinux-"+release) }
func (i image) initramfs(release string) string { return filepath.Join(i.dir, "initramfs-"+release) }

// bzImage is the kernel as it was packaged, for firmware to start.
func (i image) bzImage(release string) string {
	return filepath.Join(i.tree, "boot/vmlinuz-"+release)
}

// extractKernel writes the kernel as an ELF file, which qemu starts by the PVH
// protocol: nothing is unpacked at the speed of an emulated processor.
func (i image) extractKernel(release, to string) error {
	data, err := os.ReadFile(i.bzImage(release))
	if err != nil {
		return err
	}
	elf, err := unpackKernel(data)
	if err != nil {
		return fmt.Errorf("%s: %w", i.bzImage(release), err)
	}
	return os.WriteFile(to, elf, 0o644)
}

// unpackKernel looks for the compressed kernel in a bzImage. More lies behind
// it, so the errors of the decompressors at its end are none.
func unpackKernel(data []byte) ([]byte, error) {
	formats := []struct {
		magic string
		open  func(io.Reader) (io.Reader, error)
	}{
		{"\xfd7zXZ\x00", unxz},
		{"\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) }},
		{"\x1f\x8b\x08", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	}
	for _, f := range formats {
		for at, from := 0, 0; ; from = at + 1 {
			found := bytes.Index(data[from:], []byte(f.magic))
			if found < 0 {
				break
			}
			at = from + found
			r, err := f.open(bytes.NewReader(data[at:]))
			if err != nil {
				continue
			}
			if elf, _ := io.ReadAll(r); bytes.HasPrefix(elf, []byte("\x7fELF")) {
				return elf, nil
			}
		}
	}
	return nil, errors.New("no compressed kernel of a known kind is in it")
}

// unxz runs xz, which knows the filter for x86 that kernels are packed with.
func unxz(r io.Reader) (io.Reader, error) {
	cmd := exec.Command("xz", "--decompress", "--stdout", "--single-stream")
	cmd.Stdin = r
	out, err := cmd.Output()
	return bytes.NewReader(out), err
}

// packInitramfs makes an initramfs of busybox, a script and the modules that
// the disk needs.
func (i image) packInitramfs(t *testing.T, release string) []byte {
	t.Helper()
	var c cpio
	for _, dir := range []string{"bin", "dev", "proc", "sys", "root", "modules"} {
		c.add(dir, 0o40755, nil)
	}
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		check(t, err)
		return data
	}
	c.add("bin/busybox", 0o100755, read(filepath.Join(i.tree, "bin/busybox")))
	c.add("init", 0o100755, read("guest/lib/init.sh"))
	order := ""
	for _, path := range i.needed(t, release) {
		name := filepath.Base(path)
		if !strings.Contains(order, name+"\n") {
			c.add("modules/"+name, 0o100644, read(path))
			order += name + "\n"
		}
	}
	c.add("modules/order", 0o100644, []byte(order))
	c.add("TRAILER!!!", 0, nil)
	return c.Bytes()
}

// needed lists the files of the modules for the disk, dependencies first. What
// is built into the kernel is not among them.
func (i image) needed(t *testing.T, release string) []string {
	t.Helper()
	var files []string
	for _, name := range bootModules {
		out, err := exec.Command("modprobe", "-d", i.tree, "-S", release, "-D", name).Output()
		check(t, err)
		for line := range strings.Lines(string(out)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod "); ok {
				files = append(files, strings.TrimSpace(path))
			}
		}
	}
	return files
}

// cpio is an archive in the format "newc" (kernel:
// Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	bytes.Buffer
	inode int
}

func (c *cpio) add(name string, mode int, data []byte) {
	c.inode++
	fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	c.pad()
	c.Write(data)
	c.pad()
}

func (c *cpio) pad() {
	for c.Len()%4 != 0 {
		c.WriteByte(0)
	}
}
