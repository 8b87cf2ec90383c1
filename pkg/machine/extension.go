package machine

import (
	"path/filepath"
	"strings"

	"dkms/pkg/install"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Extensions is the directory in which an extension of the system that dkms
// export has made lists its modules, below its own name. The lists of all
// extensions that systemd-sysext has merged are there.
const Extensions = "/usr/share/dkms-modules"

// ExtensionList is the name of such a list. Its lines are paths below the
// directory of all kernels.
const ExtensionList = "modules"

// maxList bounds a list of modules, in bytes.
const maxList = 1 << 20

// readExtended reads the lists of the merged extensions.
func readExtended(m *Machine) (files []string) {
	for _, list := range m.Host.Root.Glob(Extensions + "/*/" + ExtensionList) {
		text, err := system.ReadRegular(list, maxList)
		if err != nil {
			m.Report.Warnf("%v", err)
		}
		files = append(files, strings.Fields(string(text))...)
	}
	return files
}

// Extended lists the modules of merged extensions for a kernel, as paths below
// the directory of the kernel.
func Extended(f *Facts, kernel string) (files []string) {
	return below(f.extended(), kernel)
}

// ExtensionModules lists the modules that a merged extension has for a kernel, as
// [Extended] does.
func ExtensionModules(m *Machine, name, kernel string) (files []string) {
	text, _ := system.ReadRegular(m.Host.Root.Path(filepath.Join(Extensions, name, ExtensionList)), maxList)
	return below(strings.Fields(string(text)), kernel)
}

// below keeps the paths below the directory of a kernel, and makes them relative
// to it.
func below(list []string, kernel string) (files []string) {
	for _, file := range list {
		if below, ok := strings.CutPrefix(file, kernel+"/"); ok && filepath.IsLocal(below) {
			files = append(files, below)
		}
	}
	return files
}

// inExtension tells whether a merged extension has every module of the build.
func (mod *Module) inExtension() bool {
	if mod.Manifest == nil || len(mod.Manifest.Files) == 0 {
		return false
	}
	there := map[string]string{}
	for _, below := range Extended(mod.f, mod.Kernel) {
		there[filepath.Base(below)] = filepath.Join(mod.f.m.Kernel(mod.Target).ModuleDir(), below)
	}
	for _, file := range mod.Manifest.Files {
		if there[file.Name] == "" || !install.Unchanged(tree.Installed{Path: there[file.Name], SHA256: file.SHA256}) {
			return false
		}
	}
	return true
}
