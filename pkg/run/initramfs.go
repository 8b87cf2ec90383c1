package run

import (
	"context"
	"slices"

	"dkms/pkg/machine"
	"dkms/pkg/tree"
)

// An initramfs with an old copy of a module would load that copy at the next
// boot. initramfs therefore compares the images of a kernel with the modules that
// were just installed for it. It warns or, if the administrator wants that, has
// the images made again, each once.
func (c closing) initramfs(ctx context.Context, t tree.Target) {
	var files []string
	for _, s := range c.installed {
		m, err := c.w.Tree.Manifest(s.ID, s.Target)
		if err != nil || m == nil || s.Target != t {
			continue
		}
		for _, f := range m.Installed {
			files = append(files, f.Path)
		}
	}
	if len(files) == 0 {
		return
	}
	images := c.images(t)
	var done []string // some commands make several images
	for _, i := range images {
		if !slices.Contains(done, i.Again()) && c.refresh(ctx, t, i, files) {
			done = append(done, i.Again())
		}
	}
	if len(done) > 0 {
		images = c.images(t)
		for _, i := range images {
			if found := i.Faults(files); found.Any() {
				c.w.Report.Warnf("%s was made again and is still not right: %s", i.Image, found)
			}
		}
	}
	if len(images) == 0 || c.w.Host.Image { // the record would not fit a copy of the system
		return
	}
	if err := c.w.RecordImages(t, images); err != nil {
		c.w.Report.Warnf("what the initramfs of %s holds is not on record: %v", t.Kernel, err)
	}
}

// images are the images of a kernel as they are now.
func (c closing) images(t tree.Target) []*machine.Image {
	facts, err := c.w.Facts()
	if err != nil {
		c.w.Report.Warnf("the initramfs of %s was not looked at: %v", t.Kernel, err)
		return nil
	}
	return facts.Images(t)
}

// refresh has an image made again if that is needed and wanted, and tells whether
// it was.
func (c closing) refresh(ctx context.Context, t tree.Target, i *machine.Image, files []string) bool {
	found := i.Faults(files)
	switch {
	case i.Err != nil:
		c.w.Report.Warnf("whether %s holds a module that changed is not known: %v", i.Image, i.Err)
		return false
	case !found.Any():
		return false
	case c.w.Host.Image: // the programs of a system that does not run are left alone
		c.w.Report.Warnf("%s %s; make it again in that system: %s", i.Image, found, i.Again())
		return false
	case !c.w.Framework.RefreshInitramfs:
		c.w.Report.Warnf("%s %s; make it again before the next boot, or set refresh_initramfs in framework.conf: %s", i.Image, found, i.Again())
		return false
	}
	c.w.Report.Progressf("making %s again: it %s", i.Image, found)
	if err := i.Refresh(ctx, c.w.Run, t.Kernel); err != nil {
		c.w.Report.Warnf("%s is out of date: %v", i.Image, err)
		return false
	}
	return true
}
