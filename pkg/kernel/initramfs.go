package kernel

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"path"
	"path/filepath"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// initramfsTool is a program that makes initramfs images, with the commands
// that list an image and that regenerate one. A tool counts as installed only
// if both programs are: Debian's dracut brings an update-initramfs, too, but no
// lsinitramfs.
type initramfsTool struct {
	program string
	list    []string
	refresh func(release, image string) []string
}

var initramfsTools = []initramfsTool{
	{"update-initramfs", []string{"lsinitramfs"}, func(release, _ string) []string {
		return []string{"update-initramfs", "-u", "-k", release}
	}},
	{"dracut", []string{"lsinitrd"}, func(release, image string) []string {
		return []string{"dracut", "--force", image, release}
	}},
	{"mkinitcpio", []string{"lsinitcpio"}, func(release, image string) []string {
		return []string{"mkinitcpio", "-k", release, "-g", image}
	}},
}

// Initramfs is the early file system of a kernel and the tool that made it.
type Initramfs struct {
	Image string
	tool  initramfsTool
	root  system.Root
}

// Initramfs returns the image of the kernel and this system's tool for it, or
// nil where there is no image or no tool that this program supports.
func (k *Kernel) Initramfs() *Initramfs {
	for _, pattern := range []string{"/boot/initrd.img-%s", "/boot/initramfs-%s.img", "/boot/initrd-%s", "/boot/initramfs-%s"} {
		image := k.root.Path(fmt.Sprintf(pattern, k.Release))
		if !system.IsFile(image) {
			continue
		}
		for _, t := range initramfsTools {
			if locate(k.root, t.program) != "" && locate(k.root, t.list[0]) != "" {
				return &Initramfs{image, t, k.root}
			}
		}
	}
	return nil
}

// Contains returns the names of those modules that the image contains.
func (i *Initramfs) Contains(ctx context.Context, run *system.Runner, modules map[string]bool) ([]string, error) {
	out, err := run.Output(ctx, system.Cmd{Argv: append(i.program(i.tool.list), i.Image)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.Image, err)
	}
	var found []string
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		// dracut prints lines like those of ls -l: the name is the last word.
		words := bytes.Fields(scan.Bytes())
		if len(words) == 0 {
			continue
		}
		if name, _, ok := module.ParseSuffix(path.Base(string(words[len(words)-1]))); ok && modules[name] {
			found = append(found, name)
		}
	}
	return found, nil
}

// Refresh regenerates the image.
func (i *Initramfs) Refresh(ctx context.Context, run *system.Runner, release string) error {
	return run.Run(ctx, system.Cmd{Argv: i.program(i.tool.refresh(release, i.Image))})
}

// program replaces the first word of a command by the path of the tool below
// this root.
func (i *Initramfs) program(argv []string) []string {
	list := append([]string{}, argv...)
	if file := locate(i.root, argv[0]); file != "" {
		list[0] = file
	}
	return list
}

// locate returns the file of a program below this root, or "".
func locate(root system.Root, program string) string {
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		if file := root.Path(filepath.Join(dir, program)); system.IsExecutable(file) {
			return file
		}
	}
	return ""
}
