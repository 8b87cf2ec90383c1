package boot

import (
	"fmt"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// systemdBootDefault is the default of systemd-boot: an EFI variable or, where
// there are none, a line of loader.conf.
func (s *search) systemdBootDefault() (*Default, error) {
	dirs := s.bootPartitions()
	if len(dirs) == 0 {
		if s.efi.loader == systemdBootName {
			return nil, &Fixed{Loader: systemdBootName, Why: "the entries of systemd-boot are not to be found in " + strings.Join(s.paths(loaderPlaces), ", "), Cure: "mount the EFI system partition there"}
		}
		return nil, nil
	}
	b := s.readSystemdBoot(dirs)
	if n, ok := b.first(); ok {
		return nil, &Fixed{Loader: systemdBootName, Why: n.Why + ", and comes before the default", Cure: `bootctl set-preferred "" removes it from the firmware`}
	}
	const variable = "LoaderEntryDefault"
	d := &Default{entry: b.entryOf}
	if s.efi.loader == systemdBootName {
		d.Place = "EFI variable " + variable
		d.read = func() string { return s.efi.text(variable) }
		d.write = func(value string) error { return s.efi.setText(variable, value) }
		d.starts = func(value string) string { return b.with(setting{pattern: value}, b.byDefault).Release }
	} else {
		path := filepath.Join(confDir(dirs), "loader/loader.conf")
		d.Place, d.File = "default of "+path, path
		d.read = func() string { _, def := loaderConf(dirs); return def.pattern }
		d.write = func(value string) error { return setLine(path, "default", value) }
		d.starts = func(value string) string { return b.with(setting{pattern: value}).Release }
	}
	return d, nil
}

// confDir is the partition that loader.conf is on, or belongs on.
func confDir(dirs []string) string {
	for _, dir := range dirs {
		if system.IsFile(filepath.Join(dir, "loader/loader.conf")) {
			return dir
		}
	}
	return dirs[0]
}

// entryOf names the entry of a kernel: the first one that the name leads to.
func (b *systemdBoot) entryOf(release string) string {
	for _, e := range b.entries {
		if isRescue(e.id) || e.release(b.root, b.releases()) != release {
			continue
		}
		if n, ok := b.named(setting{pattern: e.id}, b.entries); ok && n.Release == release {
			return e.id
		}
	}
	return ""
}

// extlinuxDefault is the default of extlinux, and of the distro boot of U-Boot.
func (s *search) extlinuxDefault() (*Default, error) {
	path, c := s.readSysLinux()
	if c == nil {
		return nil, nil
	}
	path = s.root.Path(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if c.marked != "" {
		return nil, &Fixed{Loader: "extlinux", Why: "MENU DEFAULT of " + path + " comes before its default", Cure: "use DEFAULT in its place"}
	}
	key := "default"
	if c.onTimeout != "" || strings.HasSuffix(c.byDefault, ".c32") { // DEFAULT starts the menu
		key = "ontimeout"
	}
	d := &Default{Place: key + " of " + path, File: path}
	d.read = func() string { return lineValue(path, key) }
	d.write = func(value string) error { return setLine(path, key, value) }
	d.entry = func(release string) string { return s.labelOf(c, release) }
	d.starts = func(value string) string {
		with := *c
		*map[string]*string{"default": &with.byDefault, "ontimeout": &with.onTimeout}[key] = value
		_, image := with.chosen()
		return releaseOf(s.root, s.releases(), s.labelled(image))
	}
	if set := map[string]string{"default": c.byDefault, "ontimeout": c.onTimeout}[key]; set != d.read() {
		return nil, &Fixed{Loader: "extlinux", Why: "the default of " + path + " is set in a file that it includes"}
	}
	return d, nil
}

// labelOf is the first label that starts a kernel.
func (s *search) labelOf(c *sysLinux, release string) string {
	for _, l := range c.labels {
		if image := c.images[l]; image != "" && !isRescue(l) && releaseOf(s.root, s.releases(), s.labelled(image)) == release {
			return l
		}
	}
	return ""
}

// lineValue returns the value of the last line KEY VALUE of a file, or "". Case
// does not matter in the key.
func lineValue(path, key string) (value string) {
	data, _ := system.ReadRegular(path, maxWord)
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) > 1 && strings.EqualFold(words[0], key) {
			value = words[1]
		}
	}
	return value
}

// setLine changes the value of the last line KEY VALUE of a file, or removes the
// lines where the value is empty. A new line comes first, so that it belongs to
// no label. Everything else stays.
func setLine(path, key, value string) error {
	if strings.ContainsAny(value, " \t\r\n") {
		return fmt.Errorf("%q has blanks", value)
	}
	return edit(path, func(data []byte) ([]byte, error) { return withLine(data, key, value), nil })
}

// withLine returns the text of a file in which [setLine] has changed a value.
func withLine(data []byte, key, value string) []byte {
	var lines []string
	at := -1
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) > 1 && strings.EqualFold(words[0], key) {
			if value == "" {
				continue
			}
			at = len(lines)
		}
		lines = append(lines, line)
	}
	switch {
	case value == "":
	case at >= 0:
		old := strings.Fields(lines[at])
		lines[at] = old[0] + " " + value + "\n"
	default:
		lines = append([]string{key + " " + value + "\n"}, lines...)
	}
	return []byte(strings.Join(lines, ""))
}
