package run

import (
	"context"
	"path/filepath"
	"strings"

	"dkms/pkg/module"
	"dkms/pkg/tree"
)

// An initramfs with an old copy of a module would load that copy at the next
// boot. initramfs therefore checks the initramfs of a kernel whose modules were
// just installed. It warns or, if the administrator wants that, updates the
// initramfs.
func (c closing) initramfs(ctx context.Context, t tree.Target) {
	changed := map[string]bool{}
	for _, s := range c.installed {
		m, err := c.w.Tree.Manifest(s.ID, s.Target)
		if err != nil || m == nil || s.Target != t {
			continue
		}
		for _, f := range m.Installed {
			if name, _, ok := module.ParseSuffix(filepath.Base(f.Path)); ok {
				changed[name] = true
			}
		}
	}
	if len(changed) > 0 {
		c.refresh(ctx, t, changed)
	}
}

func (c closing) refresh(ctx context.Context, t tree.Target, names map[string]bool) {
	image := c.w.Kernel(t).Initramfs()
	if image == nil {
		return
	}
	found, err := image.Contains(ctx, c.w.Run, names)
	if err != nil {
		c.w.Report.Warnf("whether %s holds a module that changed is not known: %v", image.Image, err)
		return
	}
	switch {
	case len(found) == 0:
	case !c.w.Framework.RefreshInitramfs:
		c.w.Report.Warnf("%s holds an old copy of %s; make it again before the next boot, or set refresh_initramfs in framework.conf",
			image.Image, strings.Join(found, ", "))
	default:
		c.w.Report.Progressf("making %s again: it holds %s", image.Image, strings.Join(found, ", "))
		if err := image.Refresh(ctx, c.w.Run, t.Kernel); err != nil {
			c.w.Report.Warnf("%s is out of date: %v", image.Image, err)
		}
	}
}
