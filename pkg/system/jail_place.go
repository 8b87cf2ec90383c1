package system

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// devices are what programs may count on in /dev; the others are dead. A
// terminal is not among them.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// private are the directories that everybody writes to, or that hold the
// sockets of other programs.
var private = []string{"/tmp", "/var/tmp", "/dev/shm", "/run"}

// places are what the jail has of its own, in the order in which it is
// mounted.
func (j *Jail) places() []place {
	list := j.shown()
	for _, m := range j.Writable {
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
		if IsFile(file) {
			list = append(list, place{from: "/dev/null", at: resolve(file), device: true})
		}
	}
	return list
}

func (m Mount) place() place {
	return place{from: m.From, at: resolve(m.At), writable: true, lent: m.Lent}
}

// resolver is the file that names are looked up by, if it is one of /run.
func resolver(shown []place) []place {
	file := resolve("/etc/resolv.conf")
	hidden := slices.ContainsFunc(shown, func(p place) bool { return p.from == "" && strings.HasPrefix(file, p.at+"/") })
	if !hidden || !IsFile(file) {
		return nil
	}
	return []place{{from: file, at: file}}
}

// shown lists the directories that the jail has its own of, parents first,
// and those below them that are to be seen all the same. Besides the private
// ones these are the directories that keep the jail's user from a place that
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
	for _, m := range j.Writable {
		switch {
		case slices.Contains(private, m.At): // what is shown below it is put over it
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

// expose adds what makes dir visible: in a private directory what lies beside
// dir comes with it; in a directory that the jail's user may not enter, dir
// does alone.
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

// parents yields the directories above path, the root's children first.
func parents(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := 1; i < len(path); i++ {
			if path[i] == '/' && !yield(path[:i]) {
				return
			}
		}
	}
}

// resolve is path without links, as far as it exists.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}
