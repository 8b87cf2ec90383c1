package inspect

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/machine"
	"dkms/pkg/system"
)

// rivals looks for another implementation of dkms: programs that come first in
// PATH, and kernel hooks that would undo the work of this program's hooks.
func (d *doctor) rivals(context.Context) {
	programs := d.distinct("/usr/local/sbin/dkms", "/usr/local/bin/dkms", "/usr/sbin/dkms", "/usr/bin/dkms", "/sbin/dkms", "/bin/dkms")
	for _, path := range programs {
		if isScript(path) {
			d.add("rivals", d.removal(path), nil, "%s is a script: another implementation of dkms", path)
		}
	}
	if len(programs) > 1 {
		d.add("rivals", d.removal(programs[len(programs)-1]), nil, "there are several programs called dkms: %s", strings.Join(programs, ", "))
	}
	var hooks []string
	for _, pattern := range []string{"/usr/lib/kernel/*.d/dkms", "/etc/kernel/*.d/dkms", "/etc/kernel/*.d/*-dkms.install", "/usr/lib/kernel/*.d/*-dkms.install"} {
		hooks = append(hooks, d.Host.Root.Glob(pattern)...)
	}
	for _, path := range hooks {
		// kernel-install ignores names without the suffix; Debian 12 has one.
		idle := filepath.Base(filepath.Dir(path)) == "install.d" && filepath.Ext(path) != ".install"
		if !idle && foreignHook(path) {
			d.add("rivals", d.removal(path), nil, "%s is a hook of another dkms, and may undo what ours do", path)
		}
	}
}

// removal returns how to remove a file that may belong to a package.
func (d *doctor) removal(path string) string {
	if ask := machine.OwnerCommand(d.Distribution, path); ask != "" {
		return "remove its package, see " + ask + ", or rm " + path
	}
	return "rm " + path
}

// distinct returns the different files among some paths, each once.
func (d *doctor) distinct(paths ...string) []string {
	var list []string
	var seen []os.FileInfo
	for _, p := range paths {
		path := d.Host.Root.Path(p)
		st, err := os.Stat(path)
		if err != nil || !system.IsExecutable(path) || slices.ContainsFunc(seen, func(other os.FileInfo) bool { return os.SameFile(st, other) }) {
			continue
		}
		seen = append(seen, st)
		list = append(list, path)
	}
	return list
}

// beginning returns the first part of a file; it is larger than any hook.
func beginning(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return data
}

func isScript(path string) bool { return bytes.HasPrefix(beginning(path), []byte("#!")) }

// foreignHook reports whether a hook would run that neither is this program nor
// calls it.
func foreignHook(path string) bool {
	if !system.IsExecutable(path) {
		return false
	}
	text := beginning(path)
	return bytes.HasPrefix(text, []byte("#!")) && !bytes.Contains(text, []byte("dkms-hook"))
}

// service checks that missing modules are built at boot.
func (d *doctor) service(context.Context) {
	root := d.Host.Root
	if system.IsFile(root.Path("/etc/dkms/no-autoinstall")) || d.Host.InChroot() {
		return
	}
	if system.IsFile(root.Path("/etc/init.d/dkms")) && system.IsDir(root.Path("/etc/runlevels")) {
		if !anyMatch(root, "/etc/runlevels/*/dkms") {
			d.add("service", "rc-update add dkms default", nil, "modules that are missing are not built at boot: the service dkms is in no runlevel")
		}
		return
	}
	if anyMatch(root, "/usr/lib/systemd/system/dkms.service", "/lib/systemd/system/dkms.service") && system.IsDir(root.Path("/etc/systemd/system")) &&
		!anyMatch(root, "/etc/systemd/system/*.target.wants/dkms.service", "/etc/systemd/system/dkms.service") {
		d.add("service", "systemctl enable dkms.service", nil, "modules that are missing are not built at boot: dkms.service is not enabled")
	}
}

// anyMatch reports whether a path below the root matches one of the patterns. A
// link matches even if its target exists only on the machine that will use the
// root.
func anyMatch(root system.Root, patterns ...string) bool {
	for _, p := range patterns {
		if len(root.Glob(p)) > 0 {
			return true
		}
	}
	return false
}
