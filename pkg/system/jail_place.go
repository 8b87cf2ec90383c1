package system

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// devices are the devices that programs may use in /dev; the others do not
// work. No terminal is among them.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// private are directories that everybody can write to, or that hold the sockets
// of other programs.
var private = []string{"/tmp", "/var/tmp", "/dev/shm", "/run"}

// places lists the mounts of the jail, in the order of mounting.
func (j *Jail) places() []place {
	list := append(j.shown(), j.added()...)
	for _, m := range j.writable() {
		if !slices.Contains(private, m.At) {
			list = append(list, m.place())
		}
	}
	if j.Network {
		list = append(list, resolver(list)...)
	}
	for _, dev := range devices {
		if _, err := os.Lstat(dev); err == nil {
			list = append(list, place{from: dev, at: dev, device: true})
		}
	}
	for _, file := range j.Hide {
		if IsFile(file) && !j.covers(file) {
			list = append(list, place{from: "/dev/null", at: resolve(file), device: true})
		}
	}
	return list
}

// added lists the directories in Added. A directory can be mounted only on one
// that exists. The directory above one that does not is therefore replaced by one
// with the same content.
func (j *Jail) added() (list []place) {
	var replaced []string
	for _, m := range j.Added {
		above := existing(m.At)
		real := resolve(above)
		if above != m.At && !slices.Contains(replaced, real) {
			replaced = append(replaced, real)
			list = append(list, place{at: real})
			list = append(list, content(real)...)
		}
		rest, _ := filepath.Rel(above, m.At)
		list = append(list, place{from: m.From, at: filepath.Join(real, rest)})
	}
	return list
}

// existing is path, or the nearest directory above it that exists.
func existing(path string) string {
	for !IsDir(path) {
		path = filepath.Dir(path)
	}
	return path
}

// covers tells whether one of Added is mounted over a path.
func (j *Jail) covers(path string) bool {
	return slices.ContainsFunc(j.Added, func(m Mount) bool { return strings.HasPrefix(resolve(path), resolve(m.At)+"/") })
}

// content lists what is in a directory. Sockets and the like are left out.
func content(dir string) (list []place) {
	entries, _ := ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name)
		switch e.Kind {
		case unix.DT_DIR, unix.DT_REG:
			list = append(list, place{from: path, at: path})
		case unix.DT_LNK:
			if target, err := os.Readlink(path); err == nil {
				list = append(list, place{link: target, at: path})
			}
		}
	}
	return list
}

// writable lists the directories that the program may write to. Some private
// directories are missing in chroots and early at boot.
func (j *Jail) writable() []Mount {
	return slices.DeleteFunc(slices.Clone(j.Writable), func(m Mount) bool {
		return slices.Contains(private, m.At) && !IsDir(resolve(m.At))
	})
}

func (m Mount) place() place {
	return place{from: m.From, at: resolve(m.At), writable: true, lent: m.Lent}
}

// resolver is the file that configures name resolution, if it is in /run.
func resolver(shown []place) []place {
	file := resolve("/etc/resolv.conf")
	hidden := slices.ContainsFunc(shown, func(p place) bool { return p.from == "" && strings.HasPrefix(file, p.at+"/") })
	if !hidden || !IsFile(file) {
		return nil
	}
	return []place{{from: file, at: file}}
}

// shown lists the directories that the jail replaces, parents first, and the
// directories below them that must stay visible. The jail replaces the private
// directories, and directories that prevent its user from reaching a path that
// it needs.
func (j *Jail) shown() []place {
	from := map[string]place{}
	var own []string
	for _, dir := range private {
		if real := resolve(dir); IsDir(real) {
			from[real] = place{at: real}
			own = append(own, real)
		}
	}
	needed := slices.Concat(j.Show, j.Lend)
	for _, m := range j.Added {
		needed = append(needed, existing(m.At))
	}
	for _, m := range j.writable() {
		switch {
		case j.covers(m.At):
		case slices.Contains(private, m.At): // visible directories below it are mounted over it
			from[resolve(m.At)] = m.place()
		case m.At != "/run/lock":
			needed = append(needed, m.At)
		}
	}
	for _, dir := range needed {
		j.expose(resolve(dir), own, from)
	}
	for _, dir := range j.Lend {
		real := resolve(dir)
		from[real] = place{from: real, at: real, lent: true}
	}
	list := make([]place, 0, len(from))
	for _, p := range from {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b place) int { return strings.Compare(a.at, b.at) })
	return list
}

// expose adds what makes dir visible. In a private directory, the siblings of
// dir become visible, too; in a directory that the jail's user may not enter,
// only dir does.
func (j *Jail) expose(dir string, own []string, from map[string]place) {
	beside := false // above is in a private directory
	for above := range parents(dir) {
		if slices.Contains(own, above) {
			beside = true
			continue
		}
		if st, err := os.Stat(above); err == nil && !j.mayPass(st) {
			if _, ok := from[above]; !ok {
				from[above] = place{at: above}
			}
			from[dir] = place{from: dir, at: dir}
			return
		}
		if beside {
			beside = false
			from[above] = place{from: above, at: above}
		}
	}
	if beside {
		from[dir] = place{from: dir, at: dir}
	}
}

func (j *Jail) mayPass(st os.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if ok && int(sys.Uid) == j.UID {
		return st.Mode()&0o100 != 0
	}
	return st.Mode()&0o001 != 0
}

// parents yields the directories above path, from the root downwards.
func parents(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := 1; i < len(path); i++ {
			if path[i] == '/' && !yield(path[:i]) {
				return
			}
		}
	}
}

// resolve is path with its links followed, as far as path exists.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}
