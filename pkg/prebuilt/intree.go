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

// hostDir is where Kubernetes' Kernel Module Management has the modules of the
// node's kernel while it loads others. An image reaches them by a link.
const (
	hostLink = "host"
	hostDir  = "/host/lib/modules/"
)

// inTree finds the kernel's own modules that the modules among files need, with
// what those need: paths below the kernel's directory. Without an index of the
// kernel nothing is known.
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
			continue // depmod says so
		}
		for _, name := range info.Depends {
			path := paths[strings.ReplaceAll(name, "-", "_")]
			if path == "" {
				continue // of the image itself, or not of the kernel's own
			}
			list = append(append(list, path), depends[path]...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// parseDep reads lines of a module and all that it needs (modules.dep(5)), of
// the modules that came with the kernel.
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
