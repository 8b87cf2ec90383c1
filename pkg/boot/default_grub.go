package boot

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
)

// grubDefault is the default of GRUB: saved_entry in its environment block. It
// counts only where the menu takes its default from there.
func (s *search) grubDefault() (*Default, error) {
	g, err := s.readGrub()
	switch {
	case err != nil:
		return nil, &Fixed{Loader: grubName, Why: err.Error()}
	case g == nil:
		return nil, nil
	}
	path := filepath.Join(g.dir, "grubenv")
	file := path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		file = real // on Fedora it may be on the EFI system partition
	}
	tools := strings.TrimPrefix(filepath.Base(g.dir), "grub") // programs have the name of the directory
	if strings.Trim(g.configured(), "${}") != "saved_entry" {
		config := filepath.Join(g.dir, "grub.cfg")
		return nil, &Fixed{Loader: grubName, Why: "the default of " + config + " is fixed",
			Cure: "set GRUB_DEFAULT=saved in " + s.root.Path("/etc/default/grub") + " and run: grub" + tools + "-mkconfig -o " + config}
	}
	for name, why := range map[string]string{
		"env_block":        "is not where GRUB keeps its variables on this file system",
		"prev_saved_entry": "has an entry for one start, after which GRUB sets saved_entry itself",
	} {
		if g.env[name] != "" {
			return nil, &Fixed{Loader: grubName, Why: path + " " + why, Cure: "grub" + tools + "-editenv " + path + " list shows it: " + name}
		}
	}
	d := &Default{Place: "saved_entry of " + path, File: file, entry: g.entryOf}
	d.starts = func(value string) string { return g.resolve(value, "").Release }
	d.read = func() string { return readGrubEnv(path)["saved_entry"] }
	d.write = func(value string) error { return setInGrubEnv(file, "saved_entry", value) }
	return d, nil
}

// entryOf names the entry of a kernel by the ids or titles of the levels above
// it. An entry whose own name has the release is the best: the first entry of the
// menu starts another kernel as soon as one is installed.
func (g *grub) entryOf(release string) (best string) {
	var walk func(items []item, above string)
	walk = func(items []item, above string) {
		for _, it := range items {
			name := it.id
			if name == "" {
				name = it.title
			}
			whole := above + strings.ReplaceAll(name, ">", ">>")
			switch {
			case name == "" || it.perhaps || isRescue(it.id) || isRescue(it.title):
			case it.items != nil:
				walk(it.items, whole+">")
			case (best == "" || !names(best, release) && names(name, release)) && g.resolve(whole, "").Release == release:
				best = whole
			}
		}
	}
	walk(g.menu.items, "")
	return best
}

// isRescue reports whether an entry is not for regular use.
func isRescue(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "recovery") || strings.Contains(name, "rescue")
}

const (
	grubEnvHead = "# GRUB Environment Block\n"
	grubEnvSize = 1024
)

// setInGrubEnv changes a variable of an environment block, or removes it where
// the value is empty. The block keeps its size and everything else that it
// holds.
func setInGrubEnv(path, name, value string) error {
	return edit(path, func(data []byte) ([]byte, error) { return grubEnvWith(data, name, value) })
}

// grubEnvWith returns an environment block with a variable in it. GRUB takes an
// empty file for a block without variables.
func grubEnvWith(data []byte, name, value string) ([]byte, error) {
	if len(data) == 0 {
		data = append([]byte(grubEnvHead), bytes.Repeat([]byte("#"), grubEnvSize-len(grubEnvHead))...)
	}
	if !bytes.HasPrefix(data, []byte(grubEnvHead)) {
		return nil, errors.New("not an environment block of GRUB")
	}
	var out []byte
	for rest := data; ; {
		line, more := cutEscapedLine(rest)
		if line == nil { // the filling has no end of a line
			break
		}
		if !bytes.HasPrefix(line, []byte(name+"=")) {
			out = append(out, line...)
		}
		rest = more
	}
	if value != "" {
		out = append(out, name+"="+strings.NewReplacer(`\`, `\\`, "\n", "\\\n").Replace(value)+"\n"...)
	}
	if len(out) > len(data) {
		return nil, errors.New("the environment block of GRUB is full")
	}
	return append(out, bytes.Repeat([]byte("#"), len(data)-len(out))...), nil
}

// cutEscapedLine cuts off a line with its newline; one behind a backslash
// belongs to the line. line is nil if none ends.
func cutEscapedLine(data []byte) (line, rest []byte) {
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '\n':
			return data[:i+1], data[i+1:]
		}
	}
	return nil, data
}
