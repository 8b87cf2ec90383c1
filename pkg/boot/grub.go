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

// grub answers for GRUB 2, where its menu is there.
func (s *search) grub() (n Next, found bool) {
	for _, dir := range []string{"/boot/grub", "/boot/grub2"} {
		path := s.root.Path(dir + "/grub.cfg")
		data, err := system.ReadRegular(path, maxMenu)
		switch {
		case err == nil:
			g := &grub{search: s, dir: s.root.Path(dir), env: readGrubEnv(s.root.Path(dir + "/grubenv"))}
			g.menu = parseMenu(string(data))
			g.complete()
			return g.next(), true
		case errors.Is(err, fs.ErrPermission):
			return unknown("", path+" can be read by root only"), true
		}
	}
	return Next{}, false
}

// grub is a menu with what decides about its entries.
type grub struct {
	*search
	dir  string
	env  map[string]string
	menu menu
}

// complete puts in what the menu takes from other files when it is shown.
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

// next is the entry of this one time, if there is one, or else the default.
func (g *grub) next() Next {
	stay := g.resolve(g.standing())
	once, variable := g.once()
	if once == "" {
		return stay
	}
	n := g.resolve(once, variable+" of "+filepath.Join(g.dir, "grubenv"))
	n.Then, n.Once = stay.Release, true
	return n
}

// once is the entry that is started one time only, and the variable of grubenv
// that names it.
func (g *grub) once() (value, variable string) {
	if v := g.env["next_entry"]; v != "" && g.menu.reads("next_entry") {
		return v, "next_entry"
	}
	if v := g.env["prev_saved_entry"]; v != "" && g.menu.uses["prev_saved_entry"] {
		return v, "prev_saved_entry"
	}
	return "", ""
}

// standing is the entry that is started without a choice for one time, and
// where that stands.
func (g *grub) standing() (value, source string) {
	config := filepath.Join(g.dir, "grub.cfg")
	value = "0"
	for _, d := range g.menu.defaults {
		if !strings.Contains(d, "next_entry") {
			value = d
		}
	}
	switch name := strings.Trim(value, "${}"); {
	case !strings.HasPrefix(value, "$"):
		return value, "default of " + config
	case g.env[name] == "":
		return "0", fmt.Sprintf("the first entry of %s, since %s has no %s", config, filepath.Join(g.dir, "grubenv"), name)
	default:
		return g.env[name], name + " of " + filepath.Join(g.dir, "grubenv")
	}
}

// resolve finds the kernel of an entry that is named by number, title or id,
// with > between the levels of the menu. What is not found is the first entry,
// as GRUB has it.
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
	why := fmt.Sprintf("%s %q", source, value)
	path, release := it.linux, ""
	switch {
	case it.entry != nil:
		path, release = it.entry.image, it.entry.release(g.root, g.releases())
	case path != "" && !strings.Contains(path, "$"):
		release = releaseOf(g.root, g.releases(), g.onDisk(path))
	}
	switch {
	case release != "":
		return Next{Release: release, Why: why}
	case path == "":
		return unknown("", fmt.Sprintf("%s, which is the entry %q, and that starts no Linux kernel", why, it.title))
	}
	return unknown("", fmt.Sprintf("%s, which starts %s, and nothing tells its release", why, path))
}

// onDisk is where an image is that GRUB knows by a path on its own file system,
// which may be that of /boot or have the names of subvolumes in front.
func (g *grub) onDisk(path string) string {
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

// cutLevel cuts the first level off the name of an entry; >> is a > of the name.
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

// pick finds an item by number, id or title; what is not found is the first.
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
// with backslashes escaped, filled up with #.
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

// splitEscaped splits lines at newlines without a backslash before them and
// takes the backslashes out.
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
