package draft

import (
	"io/fs"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// source is a C file of the sources.
type source struct {
	// name is the path below the top.
	name string
	// begins says that it has what begins a module.
	begins bool
	// version is its MODULE_VERSION, or "" where only the compiler knows it.
	// has says that it has one.
	version string
	has     bool

	macro string // whose value the version is
}

const (
	maxSource = 4 << 20 // bytes
	most      = 20000   // files and directories
)

var (
	comment       = system.Pattern(`(?s)/\*.*?\*/|//[^\n]*`)
	beginning     = system.Pattern(`(?m)^\s*(module_init|module_[a-z0-9_]*driver|init_module|module_[a-z0-9_]+_init)\s*\(|\binit_module\s*\(\s*void\s*\)`)
	moduleVersion = system.Pattern(`(?m)^\s*MODULE_VERSION\s*\(\s*(?:"([^"\n]*)"|([A-Za-z_]\w*))\s*\)`)
	definition    = system.Pattern(`(?m)^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)[ \t]+"([^"\n]*)"[ \t]*$`)
)

// readSources reads the C files below dir, in the order of their paths. It
// leaves out hidden directories, and what comes behind the first 20000 files, for
// those who start it in their home directory.
func readSources(dir string) []source {
	var list []source
	defined := map[string]string{}
	n := 0
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		n++
		switch {
		case n > most:
			return fs.SkipAll
		case err != nil:
			return nil
		case d.IsDir() && path != dir && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case !d.Type().IsRegular() || ext != ".c" && ext != ".h" || strings.HasSuffix(path, ".mod.c"):
			return nil
		}
		data, err := system.ReadRegular(path, maxSource)
		if err != nil {
			return nil
		}
		text := comment().ReplaceAllString(string(data), "")
		for _, m := range definition().FindAllStringSubmatch(text, -1) {
			defined[m[1]] = m[2]
		}
		if ext == ".c" {
			s := source{begins: beginning().MatchString(text)}
			s.name, _ = filepath.Rel(dir, path)
			if m := moduleVersion().FindStringSubmatch(text); m != nil {
				s.has, s.version, s.macro = true, m[1], m[2]
			}
			list = append(list, s)
		}
		return nil
	})
	for i, s := range list {
		if s.macro != "" {
			list[i].version = defined[s.macro]
		}
	}
	return list
}
