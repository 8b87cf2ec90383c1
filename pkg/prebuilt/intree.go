package prebuilt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/image"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
)

// hostDir is where Kubernetes' Kernel Module Management provides the modules of
// the node's kernel while it loads others. An image reaches them by a link.
const (
	hostLink = "host"
	hostDir  = "/host/lib/modules/"
)

// inTree returns the kernel's own modules on which the modules among files
// depend, directly or not, as paths below the kernel's directory. Without a
// module index of the kernel it returns none.
func inTree(k *kernel.Kernel, files []image.File) []string {
	text, err := os.ReadFile(filepath.Join(k.ModuleDir(), "modules.dep"))
	if err != nil {
		return nil
	}
	paths, depends := parseDep(string(text))
	var list []string
	for _, f := range files {
		if f.Path == "" {
			continue
		}
		info, err := module.Read(f.Path)
		if err != nil {
			continue // depmod reports it
		}
		for _, name := range info.Depends {
			path := paths[strings.ReplaceAll(name, "-", "_")]
			if path == "" {
				continue // part of the image, or not the kernel's own module
			}
			list = append(append(list, path), depends[path]...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// parseDep parses lines of a module and all its dependencies (modules.dep(5)),
// for the modules that came with the kernel.
func parseDep(text string) (paths map[string]string, depends map[string][]string) {
	paths, depends = map[string]string{}, map[string][]string{}
	for line := range strings.Lines(text) {
		path, needs, ok := strings.Cut(strings.TrimSpace(line), ":")
		name, _, isModule := module.ParseSuffix(path)
		if !ok || !isModule || !ofKernel(path) {
			continue
		}
		paths[strings.ReplaceAll(name, "-", "_")] = path
		for _, n := range strings.Fields(needs) {
			if ofKernel(n) {
				depends[path] = append(depends[path], n)
			}
		}
	}
	return paths, depends
}

func ofKernel(path string) bool {
	return strings.HasPrefix(path, "kernel/") && filepath.IsLocal(path)
}
