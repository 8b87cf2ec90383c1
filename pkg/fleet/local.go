package fleet

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/prebuilt"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// ownPrefix is what the names of this machine's own extensions begin with; the
// release of the kernel follows.
const ownPrefix = "zz-dkms-local-"

// Extension is the extension of the system in which this machine has its modules
// for a kernel whose directory cannot be written (install_as=sysext).
type Extension struct {
	m    *machine.Machine
	t    tree.Target
	name string
}

// NewExtension returns the extension for a kernel, which need not exist.
func NewExtension(m *machine.Machine, t tree.Target) Extension {
	return Extension{m, t, ownPrefix + t.Kernel}
}

func extensions(m *machine.Machine) string { return m.Host.Root.Path("/var/lib/extensions") }

// Path is its directory.
func (x Extension) Path() string { return filepath.Join(extensions(x.m), x.name) }

// Builds lists what is in it, whether it is merged or not.
func (x Extension) Builds() (ids []tree.ID) {
	dir := filepath.Join(x.Path(), machine.Extensions, x.name)
	records, _ := system.Match(dir, "", "")
	for _, name := range records {
		var r prebuilt.Record
		text, err := os.ReadFile(filepath.Join(dir, name, "manifest.json"))
		if err == nil && json.Unmarshal(text, &r) == nil && r.Target() == x.t {
			ids = append(ids, r.ID())
		}
	}
	return ids
}

// Write makes it anew of some builds, or removes it if there is none, and removes
// those for kernels that are gone. It returns the paths of the modules of each
// build once systemd has merged it.
func (x Extension) Write(ctx context.Context, ids []tree.ID) (map[tree.ID][]string, error) {
	if err := x.sweep(); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, os.RemoveAll(x.Path())
	}
	release, err := extensionRelease(x.m, x.t)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(extensions(x.m), 0o755); err != nil {
		return nil, err
	}
	content := &extension{m: x.m, t: x.t, name: x.name, modules: map[string]string{}, own: true}
	places, err := content.fill(ctx, Export{Format: "sysext", own: true}, ids)
	if err != nil {
		return nil, err
	}
	if err := content.write(ctx, release, x.Path()); err != nil {
		return nil, err
	}
	for _, list := range places {
		for i, below := range list {
			list[i] = filepath.Join(x.m.Kernel(x.t).ModuleDir(), below)
		}
	}
	return places, nil
}

// sweep removes the extensions of kernels that are gone: an extension alone has
// no list of a kernel's modules.
func (x Extension) sweep() error {
	list, err := system.Match(extensions(x.m), ownPrefix, "")
	for _, name := range list {
		release := strings.TrimPrefix(name, ownPrefix)
		if system.IsFile(filepath.Join(x.m.Host.Root.InstallTree(), release, "modules.order")) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(extensions(x.m), name)); err != nil {
			return err
		}
	}
	return err
}

// Merge has systemd-sysext merge what there is now. Its status says nothing about
// extensions that it leaves out.
func (x Extension) Merge(ctx context.Context) error {
	const program = "systemd-sysext"
	if !x.m.Run.Has(program) {
		return exit.Errorf(exit.InstallFailed, "install_as=sysext: %s is not installed", program).
			WithHint("it comes with systemd 248 and later; install_as=files in /etc/dkms/framework.conf goes without it")
	}
	argv := []string{program}
	if dir := x.m.Host.Root.Dir; dir != "" {
		argv = append(argv, "--root="+dir)
	}
	return x.m.Run.Run(ctx, system.Cmd{Argv: append(argv, "refresh"), Inside: true})
}
