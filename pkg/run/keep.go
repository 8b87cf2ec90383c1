package run

import (
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dkms/pkg/machine"
	"dkms/pkg/system"
)

// keeper is a package manager that can be told, by a file, to keep a kernel.
type keeper struct {
	// dir is the directory that the file belongs in, if it exists.
	dir, name string
	text      func(release string) string
	// over is a file that overrules it if a line begins with the word.
	over, word string
}

// keepers are those package managers. What a file for apt(8) holds is a pattern for
// the names of packages (apt.conf(5), "APT::NeverAutoRemove"). dnf5 keeps all
// kernels while installonly_limit is 0 (dnf5.conf(5)); what dnf.conf says comes after
// the files of the directory.
var keepers = []keeper{
	{dir: "/etc/apt/apt.conf.d", name: "71dkms-boot-guard", text: func(release string) string {
		return "// The boot guard of dkms keeps this kernel, see dkms check. It deletes this file.\n" +
			"APT::NeverAutoRemove:: \"^linux-(image|image-unsigned|modules|modules-extra|headers)-" + regexp.QuoteMeta(release) + "$\";\n"
	}},
	{dir: "/etc/dnf/libdnf5.conf.d", name: "71-dkms-boot-guard.conf", over: "/etc/dnf/dnf.conf", word: "installonly_limit", text: func(release string) string {
		return "# The boot guard of dkms keeps " + release + ", see dkms check. It deletes this file.\n[main]\ninstallonly_limit=0\n"
	}},
}

// maxConf bounds a configuration file, in bytes.
const maxConf = 1 << 20

func (k keeper) overruled(root system.Root) bool {
	if k.over == "" {
		return false
	}
	data, _ := system.ReadRegular(root.Path(k.over), maxConf)
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(strings.TrimSpace(line), k.word) {
			return true
		}
	}
	return false
}

// keep puts the files that keep its kernel into a record, and returns the function
// that writes them: the record comes first.
func (g *bootGuard) keep(r *machine.BootGuard) (write func() error) {
	texts := map[string]string{}
	for _, k := range keepers {
		if dir := g.Host.Root.Path(k.dir); system.IsDir(dir) && !k.overruled(g.Host.Root) {
			path := filepath.Join(dir, k.name)
			texts[path] = k.text(r.Kernel)
			if !slices.Contains(r.Kept, path) {
				r.Kept = append(r.Kept, path)
			}
		}
	}
	return func() error {
		var errs []error
		for _, path := range r.Kept {
			if text, ok := texts[path]; ok {
				errs = append(errs, system.WriteFile(path, []byte(text), 0o644))
			}
		}
		return errors.Join(errs...)
	}
}

// lacksFile tells whether one of the files is not there or keeps another kernel, as
// after a full disk.
func (g *bootGuard) lacksFile() bool {
	return slices.ContainsFunc(keepers, func(k keeper) bool {
		dir := g.Host.Root.Path(k.dir)
		if path := filepath.Join(dir, k.name); slices.Contains(g.record.Kept, path) && system.IsDir(dir) {
			data, _ := system.ReadRegular(path, maxConf)
			return string(data) != k.text(g.record.Kernel)
		}
		return false
	})
}

// unkeep deletes those files.
func unkeep(paths []string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, system.RemoveSynced(path))
	}
	return errors.Join(errs...)
}

// unkept says that a package manager cannot be told to keep a kernel, and what to
// do; it is empty where none is known that might remove one.
func (g *bootGuard) unkept(release string) string {
	for _, m := range []struct{ file, text string }{
		{"/etc/pacman.conf", "pacman replaces a kernel in its place, so nothing keeps it from removing " + release + "; put its package into IgnorePkg in /etc/pacman.conf until dkms check is content"},
		{"/etc/zypp/zypp.conf", "zypper is not told to keep " + release + "; add it to multiversion.kernels in /etc/zypp/zypp.conf until dkms check is content"},
		{"/etc/dnf/dnf.conf", "dnf is not told to keep " + release + "; it keeps the running kernel and as many as installonly_limit in /etc/dnf/dnf.conf says: set that to 0 until dkms check is content"},
		{"/etc/portage", "emerge --depclean is not told to keep " + release + "; emerge --noreplace with the slot of its package does that"},
	} {
		if path := g.Host.Root.Path(m.file); system.IsFile(path) || system.IsDir(path) {
			return m.text
		}
	}
	return ""
}
