//go:build vm

package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dkms/testscripts/chroot"
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

// unpackKernel finds the compressed kernel in a bzImage by the boot protocol
// (kernel: Documentation/arch/x86/boot.rst) and has it decompressed. The last
// four bytes are its size unpacked, which gzip has by itself.
func unpackKernel(data []byte) ([]byte, error) {
	if len(data) < 0x250 || string(data[0x202:0x206]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	word := func(at int) int { return int(binary.LittleEndian.Uint32(data[at:])) }
	start := (int(data[0x1f1])+1)*512 + word(0x248)
	end := start + word(0x24c)
	if start > end || end > len(data) {
		return nil, errors.New("the kernel lies outside of the file")
	}
	programs := map[string]string{"\xfd7zX": "xz", "\x02\x21\x4c\x18": "lz4", "\x28\xb5\x2f\xfd": "zstd", "\x1f\x8b\x08\x00": "gzip"}
	program := programs[string(data[start:start+4])]
	if program == "" {
		return nil, errors.New("the kernel is not compressed with xz, lz4, zstd or gzip")
	}
	if program != "gzip" {
		end -= 4
	}
	cmd := exec.Command(program, "-dc")
	cmd.Stdin = bytes.NewReader(data[start:end])
	return cmd.Output()
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
		chroot.Check(t, err)
		return data
	}
	c.add("bin/busybox", 0o100755, read(filepath.Join(i.tree, "bin/busybox")))
	c.add("init", 0o100755, read("guest/lib/init.sh"))
	order := ""
	for _, path := range i.needed(t, release) {
		name, compressed := strings.CutSuffix(filepath.Base(path), ".xz")
		data := read(path)
		if compressed {
			out, err := exec.Command("xz", "-dc", path).Output()
			chroot.Check(t, err)
			data = out
		}
		if !strings.Contains(order, name+"\n") {
			c.add("modules/"+name, 0o100644, data)
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
		chroot.Check(t, err)
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
