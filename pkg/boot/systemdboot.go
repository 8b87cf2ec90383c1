package boot

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// systemdBoot answers for systemd-boot, where it is installed.
func (s *search) systemdBoot() (n Next, found bool) {
	dirs := s.bootPartitions()
	if len(dirs) == 0 {
		if s.efi.loader == systemdBootName {
			return unknown("", "the entries of systemd-boot are not to be found in "+strings.Join(s.paths(loaderPlaces), ", ")+"; they may be readable by root only"), true
		}
		return Next{}, false
	}
	return s.readSystemdBoot(dirs).next(), true
}

// readSystemdBoot reads the entries and the settings of systemd-boot.
func (s *search) readSystemdBoot(dirs []string) *systemdBoot {
	b := &systemdBoot{search: s}
	for _, e := range sortedForSystemd(readEntries(s.root, dirs)) {
		if e.image != "" {
			b.entries = append(b.entries, e)
		}
	}
	b.preferred, b.byDefault = loaderConf(dirs)
	return b
}

// bootPartitions returns the mount points of the boot partitions where
// systemd-boot is installed or from which it has started the machine.
func (s *search) bootPartitions() []string {
	dirs := loaderDirs(s.root)
	for _, dir := range dirs {
		if s.efi.loader == systemdBootName || system.IsFile(filepath.Join(dir, "loader/loader.conf")) || system.IsDir(filepath.Join(dir, "EFI/systemd")) {
			return dirs
		}
	}
	return nil
}

func (s *search) paths(places []string) []string {
	list := make([]string, len(places))
	for i, p := range places {
		list[i] = s.root.Path(p)
	}
	return list
}

// systemdBoot holds the entries of systemd-boot, in the order of its menu.
type systemdBoot struct {
	*search
	entries []entry
	// preferred and byDefault are settings of loader.conf.
	preferred, byDefault setting
}

// setting is a name or pattern of entries, and the place that sets it.
type setting struct{ pattern, source string }

// variable returns a setting that is kept in an EFI variable.
func (b *systemdBoot) variable(name string) setting {
	return setting{b.efi.text(name), "EFI variable " + name}
}

// next tries what systemd-boot tries, in the same order (systemd-boot(7),
// loader.conf(5)).
func (b *systemdBoot) next() Next {
	stay := b.standing()
	if n, ok := b.named(b.variable("LoaderEntryOneShot"), b.entries); ok {
		n.Then, n.Once = stay.Release, true
		return n
	}
	return stay
}

// standing returns the entry of every ordinary start: a preferred entry with
// tries left; or the default entry, with or without tries left; or the first
// entry of the menu.
func (b *systemdBoot) standing() Next {
	if n, ok := b.first(); ok {
		return n
	}
	return b.with(b.variable("LoaderEntryDefault"), b.byDefault)
}

// with returns the entry that the first of some settings names, or the first
// entry of the menu.
func (b *systemdBoot) with(settings ...setting) Next {
	for _, s := range settings {
		if n, ok := b.named(s, b.entries); ok {
			return n
		}
	}
	if len(b.entries) == 0 {
		return unknown("", "systemd-boot has no entry with a kernel")
	}
	return b.kernel(b.entries[0], "it is the first entry of systemd-boot's menu")
}

// first returns the preferred entry, which comes before the default entry while
// it has tries left.
func (b *systemdBoot) first() (n Next, ok bool) {
	good := slices.DeleteFunc(slices.Clone(b.entries), func(e entry) bool { return e.left == 0 })
	for _, s := range []setting{b.variable("LoaderEntryPreferred"), b.preferred} {
		if n, ok := b.named(s, good); ok {
			return n, true
		}
	}
	return Next{}, false
}

// named returns the first entry that matches a setting; case does not matter.
func (b *systemdBoot) named(s setting, entries []entry) (n Next, ok bool) {
	if s.pattern == "@saved" {
		s = setting{b.efi.text("LoaderEntryLastBooted"), s.source + " is @saved, and LoaderEntryLastBooted"}
	}
	pattern := strings.ToLower(s.pattern)
	if pattern == "" {
		return Next{}, false
	}
	why := fmt.Sprintf("%s is %q", s.source, pattern)
	for _, e := range entries {
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

// loaderConf reads the settings of loader.conf, which is on the EFI system
// partition.
func loaderConf(dirs []string) (preferred, byDefault setting) {
	for _, dir := range dirs {
		path := filepath.Join(dir, "loader/loader.conf")
		data, err := system.ReadRegular(path, maxWord)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			words := strings.Fields(line)
			if len(words) < 2 {
				continue
			}
			switch words[0] {
			case "preferred":
				preferred = setting{words[1], "preferred of " + path}
			case "default":
				byDefault = setting{words[1], "default of " + path}
			}
		}
		break
	}
	return preferred, byDefault
}
