package kernel

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/initramfs"
	"dkms/pkg/system"
)

// initramfsTool is a program that makes initramfs images.
type initramfsTool struct {
	program string
	// other is another program of the same package: Debian's dracut brings an
	// update-initramfs, too.
	other   string
	refresh func(release, image string) []string
	// conf are the files that name modules, which are to be in the image, in
	// lines or after one of words.
	conf  []string
	words []string
}

var initramfsTools = []initramfsTool{
	{"update-initramfs", "lsinitramfs", func(release, _ string) []string {
		return []string{"update-initramfs", "-u", "-k", release}
	}, []string{"/etc/initramfs-tools/modules"}, nil},
	{"dracut", "lsinitrd", func(release, image string) []string {
		return []string{"dracut", "--force", image, release}
	}, []string{"/etc/dracut.conf", "/etc/dracut.conf.d/*.conf"}, []string{"add_drivers", "force_drivers"}},
	{"mkinitcpio", "lsinitcpio", func(release, image string) []string {
		return []string{"mkinitcpio", "-k", release, "-g", image}
	}, []string{"/etc/mkinitcpio.conf", "/etc/mkinitcpio.conf.d/*.conf"}, []string{"MODULES"}},
	{"booster", "booster", func(release, image string) []string {
		return []string{"booster", "build", "--force", "--kernel-version", release, image}
	}, []string{"/etc/booster.yaml"}, []string{"modules", "modules_force_load"}},
}

// kernelInstall makes the images that it has put into the boot partition again.
var kernelInstall = initramfsTool{"kernel-install", "kernel-install", nil, nil, nil}

// Initramfs is an early file system of a kernel and the tool that makes it.
type Initramfs struct {
	// Image is the file.
	Image string
	tool  *initramfsTool
	root  system.Root
	image string // the kernel's own image, for kernel-install
	// preset is the preset of mkinitcpio that makes the image, or empty.
	preset string
}

// Initramfs lists the images of the kernel: those beside the kernel's image,
// those that kernel-install has put into the boot partition (Boot Loader
// Specification of the UAPI group), and unified kernel images.
func (k *Kernel) Initramfs() []*Initramfs {
	var list []*Initramfs
	presets := mkinitcpioPresets(k.root)
	note := func(tool *initramfsTool, file string) {
		preset := presets[strings.TrimPrefix(file, k.root.Dir)]
		if preset != "" {
			tool = k.toolNamed("mkinitcpio")
		}
		list = append(list, &Initramfs{file, tool, k.root, filepath.Join(k.ModuleDir(), "vmlinuz"), preset})
	}
	add := func(tool *initramfsTool, pattern string) {
		for _, file := range k.root.Glob(pattern) {
			if system.IsFile(file) && !slices.ContainsFunc(list, func(i *Initramfs) bool { return i.Image == file }) {
				note(tool, file)
			}
		}
	}
	tool := k.initramfsTool()
	for _, pattern := range []string{"/boot/initrd.img-%s", "/boot/initramfs-%s.img", "/boot/initrd-%s", "/boot/initramfs-%s"} {
		add(tool, fmt.Sprintf(pattern, system.GlobQuote(k.Release)))
	}
	if base, err := system.ReadRegular(filepath.Join(k.ModuleDir(), "pkgbase"), maxPkgbase); err == nil { // Arch names images by their package
		if name := strings.TrimSpace(string(base)); system.PlainName(name) {
			add(tool, "/boot/initramfs-"+system.GlobQuote(name)+".img")
			add(k.toolNamed("booster"), "/boot/booster-"+system.GlobQuote(name)+".img")
		}
	}
	installer := &kernelInstall
	if locate(k.root, installer.program) == "" {
		installer = nil
	}
	for _, boot := range []string{"/boot", "/efi", "/boot/efi"} {
		add(installer, boot+"/*/"+system.GlobQuote(k.Release)+"/initrd*")
		for _, file := range k.root.Glob(boot + "/EFI/Linux/*.efi") {
			if initramfs.UnifiedRelease(file) == k.Release {
				note(installer, file)
			}
		}
	}
	return list
}

// maxPkgbase bounds how many bytes of a file pkgbase are read.
const maxPkgbase = 4 << 10

// initramfsTool is the tool of this system, or nil if there is none that this
// program supports.
func (k *Kernel) initramfsTool() *initramfsTool {
	for i, t := range initramfsTools {
		if locate(k.root, t.program) != "" && locate(k.root, t.other) != "" {
			return &initramfsTools[i]
		}
	}
	return nil
}

// toolNamed is the tool of that name if this system has it, or nil: where several
// are installed, the name of an image tells which made it.
func (k *Kernel) toolNamed(program string) *initramfsTool {
	for i, t := range initramfsTools {
		if t.program == program && locate(k.root, program) != "" {
			return &initramfsTools[i]
		}
	}
	return nil
}

// mkinitcpioPresets maps the images that presets of mkinitcpio make to the names of
// the presets (mkinitcpio(8)). A preset has the options and the configuration of an
// image. It is empty where mkinitcpio is not installed.
func mkinitcpioPresets(root system.Root) map[string]string {
	presets := map[string]string{}
	if locate(root, "mkinitcpio") == "" {
		return presets
	}
	for _, file := range root.Glob("/etc/mkinitcpio.d/*.preset") {
		data, err := system.ReadRegular(file, maxConf)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if !strings.HasPrefix(name, "#") && (strings.HasSuffix(name, "_image") || strings.HasSuffix(name, "_uki")) {
				presets[strings.Trim(value, `"'`)] = strings.TrimSuffix(filepath.Base(file), ".preset")
			}
		}
	}
	return presets
}

// Command is the command that makes the image again, or nil if the tool is not
// known.
func (i *Initramfs) Command(release string) []string {
	switch {
	case i.tool == nil:
		return nil
	case i.preset != "":
		return []string{i.tool.program, "-p", i.preset}
	case i.tool.refresh == nil:
		return []string{i.tool.program, "add", release, i.image}
	}
	return i.tool.refresh(release, i.Image)
}

// Refresh makes the image again.
func (i *Initramfs) Refresh(ctx context.Context, run *system.Runner, release string) error {
	argv := i.Command(release)
	if argv == nil {
		return fmt.Errorf("%s: the program that made it is not known", i.Image)
	}
	if file := locate(i.root, argv[0]); file != "" {
		argv[0] = file
	}
	return run.Run(ctx, system.Cmd{Argv: argv})
}

// Demands tells whether the configuration of the tool names a module. It reads
// the words of the files, and evaluates none of them.
func (i *Initramfs) Demands(name string) bool {
	if i.tool == nil {
		return false
	}
	for _, pattern := range i.tool.conf {
		for _, file := range i.root.Glob(pattern) {
			data, err := system.ReadRegular(file, maxConf)
			if err == nil && names(string(data), i.tool.words, name) {
				return true
			}
		}
	}
	return false
}

// maxConf bounds how many bytes of a configuration are read.
const maxConf = 1 << 20

// names tells whether a line of a configuration names a module: as its first
// word or, with words, after an assignment to one of these.
func names(text string, words []string, name string) bool {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\n=+\"'(),:[]", c) })
		if len(fields) == 0 {
			continue
		}
		if words == nil {
			if initramfs.Name(fields[0]) == name {
				return true
			}
			continue
		}
		if slices.Contains(words, fields[0]) && slices.ContainsFunc(fields[1:], func(f string) bool { return initramfs.Name(f) == name }) {
			return true
		}
	}
	return false
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
