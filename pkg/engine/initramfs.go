package engine

import (
	"context"
	"path/filepath"
	"strings"

	"dkms/pkg/module"
	"dkms/pkg/tree"
)

// initramfs looks after the early file systems of the kernels whose modules
// were just installed: an image with an old copy of one would bring that up at
// the next boot. It is said or, where the admin wants it, mended, once for a
// kernel. A kernel that is being installed gets its image afterwards.
func (r *run) initramfs(ctx context.Context) {
	if r.req.Verb == KernelPostinst {
		return
	}
	changed := map[tree.Target]map[string]bool{}
	for _, s := range r.installed {
		m, err := r.tree.Manifest(s.ID, s.Target)
		if err != nil || m == nil {
			continue
		}
		for _, f := range m.Installed {
			if name, _, ok := module.ParseSuffix(filepath.Base(f.Path)); ok {
				if changed[s.Target] == nil {
					changed[s.Target] = map[string]bool{}
				}
				changed[s.Target][name] = true
			}
		}
	}
	for t, names := range changed {
		r.refresh(ctx, t, names)
	}
}

func (r *run) refresh(ctx context.Context, t tree.Target, names map[string]bool) {
	image := r.kernel(t).Initramfs()
	if image == nil {
		return
	}
	found, err := image.Contains(ctx, r.Engine.run, names)
	if err != nil {
		r.report.Warnf("whether %s holds a module that changed is not known: %v", image.Image, err)
		return
	}
	switch {
	case len(found) == 0:
	case !r.framework.RefreshInitramfs:
		r.report.Warnf("%s holds an old copy of %s; make it again before the next boot, or set refresh_initramfs in framework.conf",
			image.Image, strings.Join(found, ", "))
	default:
		r.report.Progressf("making %s again: it holds %s", image.Image, strings.Join(found, ", "))
		if err := image.Refresh(ctx, r.Engine.run, t.Kernel); err != nil {
			r.report.Warnf("%s is out of date: %v", image.Image, err)
		}
	}
}
