package engine

import (
	"path/filepath"

	"dkms/pkg/install"
	"dkms/pkg/tree"
)

// staleIndex says what keeps modprobe from finding the installed modules of a
// target, or is empty.
func (e *Engine) staleIndex(t tree.Target) string {
	dep := filepath.Join(e.kernel(t).ModuleDir(), "modules.dep")
	if why := install.Outdated(dep, e.installedFiles(t), e.host.Now()); why != "" {
		return dep + " " + why
	}
	return ""
}

// installedFiles are the files of the installed versions in the directory of a
// kernel, as far as there is a record of them.
func (e *Engine) installedFiles(t tree.Target) []string {
	all, err := e.tree.Registered()
	if err != nil {
		return nil
	}
	var list []string
	for _, v := range all {
		if e.tree.Active(v.ID.Name, t) != v.ID.Version {
			continue
		}
		m, err := e.tree.Manifest(v.ID, t)
		if err != nil || m == nil {
			continue
		}
		for _, f := range m.Installed {
			list = append(list, f.Path)
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

// warnOfIndexes says which indexes are out of date, if it is not just that a
// run that changes modules has not come to them yet.
func (e *Engine) warnOfIndexes(targets []tree.Target) {
	for _, t := range targets {
		if e.staleIndex(t) == "" || e.tree.Busy() {
			continue
		}
		if why := e.staleIndex(t); why != "" { // and not mended in between
			e.report.Warnf("%s: modprobe does not find every module; dkms autoinstall -k %s mends that", why, t.Kernel)
		}
	}
}
