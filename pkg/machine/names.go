package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// NotRegistered is the error of a module that is not registered.
func (m *Machine) NotRegistered(word string) error {
	err := exit.Errorf(exit.NotAdded, "%s is not registered with dkms", word)
	switch near := m.Nearest(word); {
	case near == "":
		return err.WithHint("dkms status lists what is")
	case m.registered(near):
		return err.WithHint("did you mean %s? dkms status lists what is registered", near)
	default:
		return err.WithHint("the sources of %s are in %s: dkms add %s registers it", near, m.Host.Root.SourceTree(), near)
	}
}

// registered tells whether MODULE/VERSION, or any version of MODULE, is
// registered.
func (m *Machine) registered(word string) bool {
	name, number, _ := strings.Cut(word, "/")
	known, _ := m.Tree.Known(name)
	return slices.ContainsFunc(known, func(v tree.Version) bool {
		return v.State != tree.Absent && (number == "" || v.ID.Version == number)
	})
}

// Nearest is the registered module, or module in the source tree, that is most
// similar to MODULE or MODULE/VERSION, in the same form. It is "" if none is
// similar.
func (m *Machine) Nearest(word string) string {
	name, number, _ := strings.Cut(word, "/")
	versions := m.versions()
	if _, known := versions[name]; !known {
		var names []string
		for n := range versions {
			names = append(names, n)
		}
		if name = version.Nearest(name, names); name == "" {
			return ""
		}
		if number == "" {
			return name
		}
	}
	for _, v := range versions[name] {
		if v == number {
			return name + "/" + v
		}
	}
	near := version.Nearest(number, versions[name])
	if near == "" && len(versions[name]) == 1 {
		near = versions[name][0]
	}
	if near == "" {
		return ""
	}
	return name + "/" + near
}

// versions lists, for every module, the versions that are registered or in the
// source tree.
func (m *Machine) versions() map[string][]string {
	list := map[string][]string{}
	names, _ := m.Tree.Names()
	for _, name := range names {
		known, _ := m.Tree.Known(name)
		for _, v := range known {
			if v.State != tree.Absent {
				list[name] = append(list[name], v.ID.Version)
			}
		}
	}
	for _, file := range system.Glob(m.Host.Root.SourceTree(), "*/dkms.conf") {
		dir := filepath.Base(filepath.Dir(file))
		for i := 1; i < len(dir)-1; i++ {
			if dir[i] == '-' && dir[i+1] >= '0' && dir[i+1] <= '9' {
				list[dir[:i]] = append(list[dir[:i]], dir[i+1:])
				break
			}
		}
	}
	return list
}

// NeedHeaders returns what prevents modules from being built here for a kernel.
// If the kernel has no directory at all, its name may be misspelt.
func (m *Machine) NeedHeaders(t tree.Target) error {
	err := m.Kernel(t).CheckHeaders(m.Distribution)
	if err == nil || m.Installed(t) {
		return err
	}
	entries, _ := os.ReadDir(m.Host.Root.InstallTree())
	var releases []string
	for _, e := range entries {
		releases = append(releases, e.Name())
	}
	if near := version.Nearest(t.Kernel, releases); near != "" {
		return exit.Errorf(exit.NoHeaders, "%w", err).WithHint("did you mean -k %s, which is installed here?", near)
	}
	return err
}

// Installed tells whether a kernel has a directory, or headers were named.
func (m *Machine) Installed(t tree.Target) bool {
	return m.Settings.Headers != "" || system.IsDir(m.Kernel(t).ModuleDir())
}
