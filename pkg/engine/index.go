package engine

import (
	"path/filepath"

	"dkms/pkg/install"
	"dkms/pkg/tree"
)

// index is the index of a target's modules, as it is now.
func (e *Engine) index(t tree.Target) install.Index {
	return install.LookAtIndex(filepath.Join(e.kernel(t).ModuleDir(), "modules.dep"))
}

// staleIndex says what keeps modprobe from finding the installed modules of a
// target, or is empty.
func (e *Engine) staleIndex(t tree.Target) string {
	return e.index(t).Outdated(e.installedFiles(t), e.host.Now())
}

// installedFiles are the files of the installed versions in the directory of a
// kernel, as far as there is a record of them.
func (e *Engine) installedFiles(t tree.Target) []tree.Installed {
	all, err := e.tree.Registered()
	if err != nil {
		return nil
	}
	var list []tree.Installed
	for _, v := range all {
		if e.tree.Active(v.ID.Name, t) != v.ID.Version {
			continue
		}
		if m, err := e.tree.Manifest(v.ID, t); err == nil && m != nil {
			list = append(list, m.Installed...)
		}
	}
	return list
}

// mendIndexes notes which indexes of some targets are to be made again.
func (e *Engine) mendIndexes(targets []tree.Target) {
	for _, t := range targets {
		if why := e.staleIndex(t); why != "" {
			e.report.Progressf("%s: depmod is run again", why)
			e.stale(t)
		}
	}
}

// warnOfIndexes says which indexes do not know the files that status has met,
// if it is not just that a run that changes modules has not come to them yet.
func (e *Engine) warnOfIndexes(lines []*statusLine) {
	var kernels []tree.Target
	installed := map[tree.Target][]tree.Installed{}
	for _, l := range lines {
		if l.build == nil || l.manifest == nil || !l.build.Installed {
			continue
		}
		if installed[l.build.Target] == nil {
			kernels = append(kernels, l.build.Target)
		}
		installed[l.build.Target] = append(installed[l.build.Target], l.manifest.Installed...)
	}
	for _, t := range kernels {
		if e.index(t).Outdated(installed[t], e.host.Now()) == "" || e.tree.Busy() {
			continue
		}
		if why := e.staleIndex(t); why != "" { // and not mended in between
			e.report.Warnf("%s: modprobe does not find every module; dkms autoinstall -k %s mends that", why, t.Kernel)
		}
	}
}
