package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/pack"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// An extension covers files of /usr and cannot add to them, so it has the whole
// module index of the kernel, see systemd-sysext(8).
const (
	extensionDir = "/usr/lib/extension-release.d"
	modulesDir   = "/usr/lib/modules"
)

// writeExtension writes the builds as an extension of the system.
func (e Export) writeExtension(ctx context.Context, m *machine.Machine, t tree.Target, ids []tree.ID, out *exported) (err error) {
	release, err := extensionRelease(m, t)
	if err != nil {
		return err
	}
	if err := e.sound(m, t, ids); err != nil {
		return err
	}
	// The last of several extensions by name is the one whose index counts.
	if out.Path, err = e.place(m, "zz-dkms-"+t.Kernel, false, isExtension); err != nil {
		return err
	}
	x := &extension{m: m, t: t, name: strings.TrimSuffix(filepath.Base(out.Path), ".raw"), modules: map[string]string{}}
	if _, err := x.fill(ctx, e, ids); err != nil {
		return err
	}
	if e.DryRun {
		m.Report.Result(fmt.Sprintf("would export %s for %s to %s", joined(ids), t, out.Path))
		return nil
	}
	if err := x.write(ctx, release, out.Path); err != nil {
		return err
	}
	e.done(m, joined(ids), t, out.Path)
	if e.JSON {
		return m.Report.JSON(out)
	}
	m.Report.Result(out.Path)
	return nil
}

// fill adds builds, and returns the paths of the modules of each below the
// directory of the kernel.
func (x *extension) fill(ctx context.Context, e Export, ids []tree.ID) (map[tree.ID][]string, error) {
	p, confs, err := e.packer(ctx, x.m, x.t, ids)
	if err != nil {
		return nil, err
	}
	below := map[tree.ID][]string{}
	for _, id := range ids {
		made, err := e.packageOf(ctx, x.m, p, machine.Subject{ID: id, Target: x.t}, confs[id])
		if err != nil {
			return nil, err
		}
		below[id] = x.add(made)
	}
	return below, nil
}

// write writes the extension as path, with the index.
func (x *extension) write(ctx context.Context, release, to string) error {
	if err := x.index(ctx); err != nil {
		return err
	}
	x.files = append(x.files,
		pack.File{Path: path.Join(extensionDir, "extension-release."+x.name), Data: []byte(release)},
		pack.File{Path: path.Join(machine.Extensions, x.name, machine.ExtensionList), Data: x.list()})
	user := 0
	if x.m.Host.UID == 0 {
		user = system.BuildUser(0)
	}
	return failed(to, pack.WriteTree(ctx, x.m.Run, x.files, x.time, to, x.m.Framework.TmpLocation, user))
}

// isExtension tells whether path is an extension, which may be replaced.
func isExtension(path string) bool {
	return system.IsFile(path) && strings.HasSuffix(path, ".raw") || system.IsDir(filepath.Join(path, extensionDir))
}

// extensionRelease says which systems may have the extension: systemd refuses it
// on a system of another distribution, version or architecture.
func extensionRelease(m *machine.Machine, t tree.Target) (string, error) {
	if to, err := os.Readlink(m.Host.Root.Path("/lib")); err != nil || !strings.HasSuffix(to, "usr/lib") {
		return "", exit.Errorf(exit.Usage, "an extension is merged into /usr, and /lib is no link to usr/lib here")
	}
	values := conf.OSRelease(m.Host.Root)
	if values["ID"] == "" {
		return "", exit.Errorf(exit.NoOSRelease, "os-release has no ID, by which systemd knows for which system an extension is")
	}
	text := "ID=" + values["ID"] + "\n"
	level := "VERSION_ID"
	if values["SYSEXT_LEVEL"] != "" {
		level = "SYSEXT_LEVEL"
	}
	if values[level] != "" {
		text += level + "=" + values[level] + "\n"
	} else {
		m.Report.Warnf("os-release has no VERSION_ID: systemd accepts the extension after every update of the system; make it anew for every kernel")
	}
	return text + "ARCHITECTURE=" + architecture(t.Arch) + "\n", nil
}

// architecture is systemd's name of an architecture, see ConditionArchitecture=
// in systemd.unit(5).
func architecture(arch string) string {
	names := map[string]string{
		"x86_64": "x86-64", "i686": "x86", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64-le",
	}
	if name := names[arch]; name != "" {
		return name
	}
	return arch
}

// extension is the content of an extension for a kernel.
type extension struct {
	m       *machine.Machine
	t       tree.Target
	name    string
	files   []pack.File
	modules map[string]string // files by their paths below the kernel's directory
	time    time.Time
	// own says that the extension is for this very machine.
	own bool
}

// list is the list of the modules, for the machine that has the extension.
func (x *extension) list() []byte {
	text := ""
	for _, file := range slices.Sorted(maps.Keys(x.modules)) {
		text += path.Join(x.t.Kernel, file) + "\n"
	}
	return []byte(text)
}

// add takes over the files of a package, and returns the paths of its modules.
// The extension has the time of the newest build.
func (x *extension) add(p *pack.Package) (modules []string) {
	kernel := path.Join(p.Kernels, p.Kernel) + "/"
	for _, f := range p.Files {
		if below, ok := strings.CutPrefix(f.Path, kernel); ok {
			x.modules[below] = f.From
			modules = append(modules, below)
			f.Path = path.Join(modulesDir, x.t.Kernel, below)
		} else {
			f.Path = path.Join(machine.Extensions, x.name, p.Module, path.Base(f.Path))
		}
		x.files = append(x.files, f)
	}
	if p.Time.After(x.time) {
		x.time = p.Time
	}
	return modules
}

// index adds the index of the kernel with the modules of the extension. depmod
// makes it in a directory of links to the kernel's own modules.
func (x *extension) index(ctx context.Context) error {
	kernel := x.m.Kernel(x.t).ModuleDir()
	before, err := indexed(filepath.Join(kernel, "modules.dep"))
	if err != nil || len(before) == 0 || !system.IsFile(filepath.Join(kernel, "modules.order")) {
		return exit.Errorf(exit.NoHeaders, "kernel %s is not installed here: an extension covers the kernel's module index, and needs all of it", x.t.Kernel).
			WithHint("export it on a machine of the same system with this kernel, or in its image")
	}
	temp, err := os.MkdirTemp(x.m.Framework.TmpLocation, "dkms-export.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	dir := filepath.Join(temp, "lib/modules", x.t.Kernel)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	// A depmod for merged directories looks below usr.
	if err := os.Symlink(".", filepath.Join(temp, "usr")); err != nil {
		return err
	}
	hidden, err := x.hidden(kernel)
	if err != nil {
		return err
	}
	if err := x.link(dir, kernel, hidden); err != nil {
		return err
	}
	if err := x.m.Run.Run(ctx, system.Cmd{Argv: []string{"depmod", "-b", temp, x.t.Kernel}}); err != nil {
		return fmt.Errorf("the index of the modules: %w", err)
	}
	after, err := indexed(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	slices.Sort(after)
	for _, file := range slices.Concat(before, slices.Collect(maps.Keys(x.modules))) {
		if _, there := slices.BinarySearch(after, file); !there && !hidden[file] && system.IsFile(filepath.Join(dir, file)) {
			return fmt.Errorf("the index of the modules: depmod has left out %s", file)
		}
	}
	return x.take(dir)
}

// take adds the files that depmod has made.
func (x *extension) take(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !strings.HasPrefix(entry.Name(), "modules.") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		x.files = append(x.files, pack.File{Path: path.Join(modulesDir, x.t.Kernel, entry.Name()), Data: data})
	}
	return err
}

// hidden are the modules below the kernel's directory that the system does not
// have without dkms: those of an extension of dkms that is merged here, and those
// that dkms has installed here, which other machines do not have. An extension for
// this machine covers only what it had itself.
func (x *extension) hidden(kernel string) (map[string]bool, error) {
	hidden := map[string]bool{}
	if x.own {
		for _, file := range machine.ExtensionModules(x.m, x.name, x.t.Kernel) {
			hidden[file] = true
		}
		return hidden, nil
	}
	facts, err := x.m.Facts()
	if err != nil {
		return nil, err
	}
	for _, file := range machine.Extended(facts, x.t.Kernel) {
		hidden[file] = true
	}
	for _, v := range facts.Registered() {
		mod := facts.Module(machine.Subject{ID: v.ID, Target: x.t})
		if mod.Manifest == nil {
			continue
		}
		for _, f := range mod.Manifest.Installed {
			below, err := filepath.Rel(kernel, f.Path)
			if err != nil || !filepath.IsLocal(below) || hidden[below] {
				continue
			}
			if hidden[below] = true; x.modules[below] == "" {
				x.m.Report.Warnf("%s has installed %s here, and is not part of the extension: its index does not have it", v.ID, f.Path)
			}
		}
	}
	return hidden, nil
}

// link makes dir the directory of the kernel as the extension leaves it: with its
// modules, without what is hidden and what depmod makes. Directories that are
// the same in both, and files, are links.
func (x *extension) link(dir, kernel string, hidden map[string]bool) error {
	changed := map[string]bool{".": true}
	for _, list := range []map[string]bool{x.named(), hidden} {
		for file := range list {
			for d := path.Dir(file); !changed[d]; d = path.Dir(d) {
				changed[d] = true
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(changed)) {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
		entries, err := os.ReadDir(filepath.Join(kernel, d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, entry := range entries {
			name := path.Join(d, entry.Name())
			if changed[name] || hidden[name] || x.modules[name] != "" || !isInput(name) {
				continue
			}
			if err := os.Symlink(filepath.Join(kernel, name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for name, from := range x.modules {
		if err := os.Symlink(from, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (x *extension) named() map[string]bool {
	list := map[string]bool{}
	for name := range x.modules {
		list[name] = true
	}
	return list
}

// isInput tells whether depmod reads an entry of a kernel's directory: the links
// to the headers and its own files it does not.
func isInput(name string) bool {
	switch name {
	case "build", "source":
		return false
	case "modules.order", "modules.builtin", "modules.builtin.modinfo":
		return true
	}
	return !strings.HasPrefix(name, "modules.")
}

// indexed lists the modules in a modules.dep.
func indexed(dep string) (list []string, err error) {
	text, err := os.ReadFile(dep)
	for row := range strings.Lines(string(text)) {
		file, _, _ := strings.Cut(row, ":")
		list = append(list, file)
	}
	return list, err
}
