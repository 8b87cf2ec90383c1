package boot

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dkms/pkg/system"
)

// entry is an entry of the Boot Loader Specification
// (uapi-group.org/specifications/specs/boot_loader_specification): a file in
// loader/entries, or a unified kernel image in EFI/Linux.
type entry struct {
	// id is the name of the file, without the boot counter.
	id string
	// title, version, machine, sortKey and arch are the entry's keys.
	title, version, machine, sortKey, arch string
	// image is the file that is started, or "" where it does not exist.
	image string
	// left is how many tries the entry has left, or -1 without a limit; done is
	// how many tries it has used.
	left, done int
}

// loaderPlaces are the mount points of the boot partition and of the EFI system
// partition.
var loaderPlaces = []string{"/boot", "/efi", "/boot/efi"}

// loaderDirs returns those loaderPlaces that have entries of a boot loader.
func loaderDirs(root system.Root) []string {
	var dirs []string
	for _, dir := range loaderPlaces {
		if dir = root.Path(dir); system.IsDir(filepath.Join(dir, "loader")) || system.IsDir(filepath.Join(dir, "EFI/Linux")) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// readEntries reads all entries below the directories.
func readEntries(root system.Root, dirs []string) []entry {
	var list []entry
	for _, dir := range dirs {
		list = append(list, typeOne(root, dir)...)
		list = append(list, typeTwo(dir)...)
	}
	return list
}

func typeOne(root system.Root, dir string) []entry {
	files, _ := os.ReadDir(filepath.Join(dir, "loader/entries"))
	var list []entry
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".conf")
		if !ok || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "auto-") {
			continue
		}
		data, err := system.ReadRegular(filepath.Join(dir, "loader/entries", f.Name()), maxWord)
		if err != nil {
			continue
		}
		e := parseEntry(string(data))
		if e.image == "" {
			continue
		}
		e.image = firstFile(filepath.Join(dir, e.image), root.Path("/"+e.image))
		name, e.left, e.done = cutCounter(name)
		e.id = name + ".conf"
		list = append(list, e)
	}
	return list
}

// parseEntry parses the keys of an entry; image is the path in the entry.
func parseEntry(text string) entry {
	var e entry
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.Replace(strings.TrimSpace(line), "\t", " ", 1), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			e.title = value
		case "version":
			e.version = value
		case "machine-id":
			e.machine = value
		case "sort-key":
			e.sortKey = value
		case "architecture":
			e.arch = value
		case "linux", "uki", "efi":
			e.image = value
		}
	}
	return e
}

func typeTwo(dir string) []entry {
	files, _ := os.ReadDir(filepath.Join(dir, "EFI/Linux"))
	var list []entry
	for _, f := range files {
		if !strings.EqualFold(filepath.Ext(f.Name()), ".efi") || strings.HasPrefix(f.Name(), ".") {
			continue
		}
		e := unified(filepath.Join(dir, "EFI/Linux", f.Name()))
		name, ext := f.Name()[:len(f.Name())-4], f.Name()[len(f.Name())-4:]
		name, e.left, e.done = cutCounter(name)
		e.id = name + ext
		list = append(list, e)
	}
	return list
}

// cutCounter removes the boot counter from a name: NAME+LEFT or NAME+LEFT-DONE
// (systemd-boot(7), "Boot Counting").
func cutCounter(name string) (rest string, left, done int) {
	i := strings.LastIndexByte(name, '+')
	if i < 0 {
		return name, -1, 0
	}
	l, d, both := strings.Cut(name[i+1:], "-")
	left, err := strconv.Atoi(l)
	if err == nil && both {
		done, err = strconv.Atoi(d)
	}
	if err != nil || left < 0 || done < 0 {
		return name, -1, 0
	}
	return name[:i], left, done
}

// release returns the kernel of the entry, or "".
func (e entry) release(root system.Root, known []string) string {
	if r := releaseOf(root, known, e.image); r != "" {
		return r
	}
	if e.version != "" && system.PlainName(e.version) && e.version[0] >= '0' && e.version[0] <= '9' {
		return e.version
	}
	return ""
}
