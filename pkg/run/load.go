package run

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// load loads modules that were just installed or signed for the running kernel,
// if a device without a driver needs them or modules-load.d names them. It
// unloads nothing, and no device changes its driver. If a module cannot be
// loaded, load only warns, because the module is installed.
func (c closing) load(ctx context.Context) {
	modaliases := kernel.Driverless(c.w.Host.Root)
	atBoot := kernel.AtBoot(c.w.Host.Root)
	var wanted []string
	for _, s := range c.installed {
		if s.Kernel != c.w.Host.Release {
			continue
		}
		m, err := c.w.Tree.Manifest(s.ID, s.Target)
		if err != nil || m == nil {
			continue
		}
		for _, f := range m.Installed {
			if name, ok := wantedModule(f, modaliases, atBoot); ok {
				wanted = append(wanted, name)
			}
		}
	}
	for _, name := range wanted {
		c.w.Report.Progressf("loading %s", name)
		if err := c.w.Run.Run(ctx, system.Cmd{Argv: []string{"modprobe", "-b", "--", name}}); err != nil {
			c.w.Report.Warnf("%s is installed but was not loaded: %v", name, err)
		}
	}
}

func wantedModule(f tree.Installed, modaliases, atBoot []string) (string, bool) {
	name, _, ok := module.ParseSuffix(filepath.Base(f.Path))
	if !ok {
		return "", false
	}
	if slices.ContainsFunc(atBoot, func(n string) bool { return sameModule(n, name) }) {
		return name, true
	}
	info, err := module.Read(f.Path)
	return name, err == nil && kernel.Claims(info.Aliases, modaliases)
}

// sameModule compares names as the kernel does: dash and underscore are equal.
func sameModule(a, b string) bool {
	return strings.ReplaceAll(a, "-", "_") == strings.ReplaceAll(b, "-", "_")
}
