package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"dkms/pkg/system"
)

// maxMenu bounds a grub.cfg, in bytes; real ones are some 10 KB.
const maxMenu = 4 << 20

// grub answers for GRUB 2, where its menu exists.
func (s *search) grub() (n Next, found bool) {
	switch g, err := s.readGrub(); {
	case err != nil:
		return unknown("", err.Error()), true
	case g != nil:
		return g.next(), true
	}
	return Next{}, false
}

// readGrub reads the menu of GRUB 2, where it exists.
func (s *search) readGrub() (*grub, error) {
	for _, dir := range []string{"/boot/grub", "/boot/grub2"} {
		path := s.root.Path(dir + "/grub.cfg")
		data, err := system.ReadRegular(path, maxMenu)
		switch {
		case err == nil:
			g := &grub{search: s, dir: s.root.Path(dir), env: readGrubEnv(s.root.Path(dir + "/grubenv"))}
			g.menu = parseMenu(string(data))
			g.complete()
			return g, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, errors.New(path + " can be read by root only")
		}
	}
	return nil, nil
}

// grub is a menu with the variables that choose among its entries.
type grub struct {
	*search
	dir  string
	env  map[string]string
	menu menu
}

// complete adds the items that the menu reads from other files when it is
// shown.
func (g *grub) complete() {
	if at := g.menu.entriesAt; at >= 0 {
		var list []item
		for _, e := range sortedForGrub(readEntries(g.root, loaderDirs(g.root))) {
			list = append(list, item{title: e.title, id: strings.TrimSuffix(e.id, ".conf"), entry: &e})
		}
		g.menu.items = append(g.menu.items[:at:at], append(list, g.menu.items[at:]...)...)
	}
	if !g.menu.custom {
		return
	}
	if data, err := system.ReadRegular(filepath.Join(g.dir, "custom.cfg"), maxMenu); err == nil {
		more := parseMenu(string(data))
		g.menu.items = append(g.menu.items, more.items...)
		if len(more.defaults) > 0 {
			g.menu.defaults = more.defaults
		}
	}
}

// next returns the kernel of the one-time entry, if there is one, or else of
// the default entry.
func (g *grub) next() Next {
	stay := g.resolve(g.standing())
	grubenv := " of " + filepath.Join(g.dir, "grubenv")
	if once := g.env["next_entry"]; once != "" && g.menu.reads("next_entry") {
		n := g.resolve(once, "next_entry"+grubenv)
		n.Then, n.Once = stay.Release, true
		return n
	}
	// Old tools set saved_entry for one start, and the menu restores the value.
	if before := g.env["prev_saved_entry"]; before != "" && g.menu.uses["prev_saved_entry"] && g.menu.reads("saved_entry") {
		stay.Then, stay.Once = g.resolve(before, "prev_saved_entry"+grubenv).Release, true
	}
	return stay
}

// standing returns the default entry, which is started when there is no
// one-time entry, and the place that sets it.
func (g *grub) standing() (value, source string) {
	config := filepath.Join(g.dir, "grub.cfg")
	value = g.configured()
	switch name := strings.Trim(value, "${}"); {
	case !strings.HasPrefix(value, "$"):
		return value, "default of " + config
	case g.env[name] == "":
		return "", fmt.Sprintf("the first entry of %s, since %s has no %s", config, filepath.Join(g.dir, "grubenv"), name)
	default:
		return g.env[name], name + " of " + filepath.Join(g.dir, "grubenv")
	}
}

// configured returns what the menu itself says of its default entry: a name, or
// a variable that has the name.
func (g *grub) configured() string {
	value := "0"
	for _, d := range g.menu.defaults {
		if !strings.Contains(d, "next_entry") {
			value = d
		}
	}
	return value
}

// resolve returns the kernel of an entry. The value names the entry by number,
// title or id, with > between the levels of the menu. Like GRUB, resolve takes
// the first entry if the value matches none.
func (g *grub) resolve(value, source string) Next {
	items, rest := g.menu.items, value
	for {
		var name string
		name, rest = cutLevel(rest)
		it, found, err := pick(items, name)
		switch {
		case err != nil:
			return unknown("", fmt.Sprintf("%s is %q: %v", source, value, err))
		case it.items != nil:
			items = it.items
			continue
		case !found && name != "":
			source = "the menu's first entry, since it does not have what " + source + " names:"
		}
		return g.kernel(it, source, value)
	}
}

func (g *grub) kernel(it item, source, value string) Next {
	why := source
	if value != "" {
		why = fmt.Sprintf("%s %q", source, value)
	}
	path, release := it.linux, ""
	switch {
	case it.entry != nil:
		if path = it.entry.image; path == "" {
			return unknown("", fmt.Sprintf("%s, whose image is not there", why))
		}
		release = it.entry.release(g.root, g.releases())
	case path == "":
		return unknown("", fmt.Sprintf("%s, which is the entry %q, and that starts no Linux kernel", why, it.title))
	case !strings.Contains(strings.TrimPrefix(path, "($root)"), "$"):
		file := g.onDisk(path)
		if !system.IsFile(file) {
			return unknown("", fmt.Sprintf("%s, which starts %s, and that is not here: it may be another system's", why, path))
		}
		release = releaseOf(g.root, g.releases(), file)
	}
	if release == "" {
		return unknown("", fmt.Sprintf("%s, which starts %s, and nothing tells its release", why, path))
	}
	return Next{Release: release, Why: why}
}

// onDisk returns where an image is in the root. GRUB knows the image by a path
// on the image's own file system, which may be the file system of /boot, and
// the path may begin with the names of subvolumes.
func (g *grub) onDisk(path string) string {
	if strings.HasPrefix(path, "(") { // a device, such as ($root)
		_, path, _ = strings.Cut(path, ")")
	}
	for rest := path; rest != ""; {
		for _, file := range []string{g.root.Path(rest), g.root.Path("/boot" + rest)} {
			if system.IsFile(file) {
				return file
			}
		}
		i := strings.IndexByte(rest[1:], '/')
		if i < 0 {
			break
		}
		rest = rest[1+i:]
	}
	return path
}

// cutLevel splits the first level off the name of an entry; >> stands for a >
// in the name.
func cutLevel(value string) (first, rest string) {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '>' {
			if i+1 >= len(value) || value[i+1] != '>' {
				return b.String(), value[i+1:]
			}
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String(), ""
}

// pick returns the item with a number, id or title, or the first item if none
// matches.
func pick(items []item, name string) (it item, found bool, err error) {
	if len(items) == 0 {
		return item{}, false, errors.New("the menu has no entries")
	}
	for _, same := range []func(item) string{func(i item) string { return i.id }, func(i item) string { return i.title }} {
		for _, it := range items {
			if name != "" && same(it) == name {
				return it, true, nil
			}
		}
	}
	number, err := strconv.Atoi(name)
	found = err == nil && number >= 0 && number < len(items)
	if !found {
		number = 0
	}
	for _, it := range items[:number+1] {
		if it.perhaps {
			return item{}, false, fmt.Errorf("whether the entry %q counts is decided when the menu is shown", it.title)
		}
	}
	return items[number], found, nil
}

// readGrubEnv reads the environment block: a comment, then NAME=VALUE lines
// with escaped backslashes, padded with #.
func readGrubEnv(path string) map[string]string {
	data, err := system.ReadRegular(path, maxWord)
	env := map[string]string{}
	if err != nil || !strings.HasPrefix(string(data), "# GRUB Environment Block\n") {
		return env
	}
	for _, line := range splitEscaped(string(data)) {
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			env[name] = value
		}
	}
	return env
}

// splitEscaped splits lines at newlines without a backslash before them, and
// removes the backslashes.
func splitEscaped(text string) []string {
	var lines []string
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case text[i] == '\n':
			lines = append(lines, b.String())
			b.Reset()
		default:
			b.WriteByte(text[i])
		}
	}
	return lines
}
