package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// systemdBoot answers for systemd-boot, where it is set up.
func (s *search) systemdBoot() (n Next, found bool) {
	dirs := s.bootPartitions()
	if len(dirs) == 0 {
		return Next{}, false
	}
	for _, dir := range dirs {
		if _, err := os.ReadDir(dir); errors.Is(err, fs.ErrPermission) {
			return unknown("", dir+" can be read by root only"), true
		}
	}
	all := sortedForSystemd(readEntries(s.root, dirs))
	var list []entry
	for _, e := range all {
		if e.image != "" {
			list = append(list, e)
		}
	}
	b := systemdBoot{search: s, entries: list, config: loaderDefault(dirs)}
	return b.next(), true
}

// bootPartitions are the directories of the boot partitions where systemd-boot
// is installed or has started the machine.
func (s *search) bootPartitions() []string {
	dirs := loaderDirs(s.root)
	for _, dir := range dirs {
		if s.efi.loader == "systemd-boot" || system.IsFile(filepath.Join(dir, "loader/loader.conf")) || system.IsDir(filepath.Join(dir, "EFI/systemd")) {
			return dirs
		}
	}
	return nil
}

// systemdBoot is the entries of systemd-boot in the order of its menu.
type systemdBoot struct {
	*search
	entries []entry
	// config is the default of loader.conf, and where that is.
	config [2]string
}

// next asks what systemd-boot does, in its order (systemd-boot(7), loader.conf(5)).
func (b *systemdBoot) next() Next {
	stay := b.standing()
	once := b.efi.text("LoaderEntryOneShot")
	if once == "" {
		return stay
	}
	n, ok := b.named(once, "EFI variable LoaderEntryOneShot")
	if !ok {
		return stay
	}
	n.Then, n.Once = stay.Release, true
	return n
}

func (b *systemdBoot) standing() Next {
	for _, d := range [][2]string{{b.efi.text("LoaderEntryDefault"), "EFI variable LoaderEntryDefault"}, b.config} {
		if d[0] == "@saved" {
			d = [2]string{b.efi.text("LoaderEntryLastBooted"), d[1] + " is @saved, and LoaderEntryLastBooted"}
		}
		if n, ok := b.named(d[0], d[1]); ok {
			return n
		}
	}
	if len(b.entries) == 0 {
		return unknown("", "systemd-boot has no entry with a kernel")
	}
	return b.kernel(b.entries[0], "it is the first entry of systemd-boot's menu")
}

// named finds the entry that a name or pattern means; case does not matter.
func (b *systemdBoot) named(pattern, source string) (n Next, ok bool) {
	pattern = strings.ToLower(pattern)
	if pattern == "" {
		return Next{}, false
	}
	why := fmt.Sprintf("%s is %q", source, pattern)
	for _, e := range b.entries {
		if match, err := filepath.Match(pattern, strings.ToLower(e.id)); err == nil && match || strings.ToLower(e.id) == pattern {
			return b.kernel(e, why), true
		}
	}
	if strings.HasPrefix(pattern, "auto-") {
		return unknown("", why+", which is no Linux kernel"), true
	}
	return Next{}, false
}

func (b *systemdBoot) kernel(e entry, why string) Next {
	if r := e.release(b.root, b.releases()); r != "" {
		return Next{Release: r, Why: why}
	}
	return unknown("", fmt.Sprintf("%s, which starts %s, and nothing tells its release", why, e.image))
}

// loaderDefault is the default of loader.conf, which is on the EFI system
// partition, and where it stands.
func loaderDefault(dirs []string) [2]string {
	for _, dir := range dirs {
		path := filepath.Join(dir, "loader/loader.conf")
		data, err := system.ReadRegular(path, maxWord)
		if err != nil {
			continue
		}
		value := ""
		for line := range strings.Lines(string(data)) {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "default" {
				value = words[1]
			}
		}
		return [2]string{value, "default of " + path}
	}
	return [2]string{}
}
