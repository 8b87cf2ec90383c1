package build

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
)

// maxLeft is how many modules are searched for in the directory of a build.
const maxLeft = 200

// leftovers are the modules that a build has left in its directory and that no
// record names.
type leftovers struct{ *work }

// notBuilt is the error of a build without the module of a record. The error
// names the modules that exist instead, and the directive that would select
// one.
func (w leftovers) notBuilt(r conf.Record) error {
	left := w.left()
	text := "make succeeded but did not build " + built(r)
	if len(left) == 0 {
		return exit.Errorf(exit.NoModule, "%s, nor any other module", text).WithHint("%s", w.noModule())
	}
	err := exit.Errorf(exit.NoModule, "%s; it built %s", text, list(left))
	if take := directive(r, w.unclaimed(left)); take != "" {
		err = err.WithHint("%s in dkms.conf takes it", take)
	}
	return err
}

// noModule is the hint for a build in which make has built no module.
func (w leftovers) noModule() string {
	for _, command := range w.Conf.Make {
		if strings.Contains(command, "SUBDIRS=") {
			return subdirs
		}
	}
	return "MAKE in dkms.conf has to build the modules that BUILT_MODULE_NAME[] names"
}

// subdirs is the hint for old packages that pass SUBDIRS= to Kbuild.
const subdirs = "Kbuild does not know SUBDIRS= any more: MAKE in dkms.conf has to say M= instead"

// left lists the modules that the build has left, by their paths in its
// directory.
func (w leftovers) left() []string {
	var left []string
	filepath.WalkDir(w.scratch.real, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".ko" {
			return nil
		}
		if rel, err := filepath.Rel(w.scratch.real, path); err == nil {
			left = append(left, rel)
		}
		if len(left) == maxLeft {
			return fs.SkipAll
		}
		return nil
	})
	return left
}

// unclaimed lists the modules that no record names.
func (w leftovers) unclaimed(left []string) []string {
	return slices.DeleteFunc(slices.Clone(left), func(path string) bool {
		return slices.ContainsFunc(w.records, func(r conf.Record) bool { return filepath.Clean(built(r)) == path })
	})
}

// directive is the line of dkms.conf that would select a module that was built:
// a module of the same name in another directory, or the only unclaimed one.
func directive(r conf.Record, unclaimed []string) string {
	for _, path := range unclaimed {
		if filepath.Base(path) == r.BuiltName+".ko" {
			return fmt.Sprintf("BUILT_MODULE_LOCATION[%d]=%s", r.Index, shellQuote(filepath.Dir(path)))
		}
	}
	if len(unclaimed) != 1 {
		return ""
	}
	dir, file := filepath.Split(unclaimed[0])
	take := fmt.Sprintf("BUILT_MODULE_NAME[%d]=%s", r.Index, shellQuote(strings.TrimSuffix(file, ".ko")))
	if filepath.Clean(dir) != filepath.Clean(r.BuiltLocation) {
		take += fmt.Sprintf(" with BUILT_MODULE_LOCATION[%d]=%s", r.Index, shellQuote(filepath.Clean(dir)))
	}
	return take
}

// list names the first few of many names.
func list(names []string) string {
	const some = 4
	if len(names) > some {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:some], ", "), len(names)-some)
	}
	return strings.Join(names, ", ")
}
