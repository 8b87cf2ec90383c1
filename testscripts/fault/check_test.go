package fault

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// leftovers are files and directories of ours that no run may leave behind.
func (m *machine) leftovers() (list []string) {
	m.Helper()
	m.walk(".", func(rel string, d fs.DirEntry) {
		name := filepath.Base(rel)
		for _, prefix := range []string{system.StagePrefix, ".tmp_", ".journal", "depmod-pending-"} {
			if strings.HasPrefix(name, prefix) {
				list = append(list, rel)
			}
		}
		if name == ".lock" && m.size(rel) != 0 {
			list = append(list, rel)
		}
	})
	return list
}

func (m *machine) size(rel string) int64 {
	st, err := os.Lstat(m.path(rel))
	m.must(err)
	return st.Size()
}

// wrongIndex says which files of the index of a kernel differ from those that
// depmod makes of the modules that are there, or is empty.
func (m *machine) wrongIndex() (wrong []string) {
	m.Helper()
	kernels, err := os.ReadDir(m.path("lib/modules"))
	m.must(err)
	for _, k := range kernels {
		have := m.index(k.Name())
		m.sh("depmod -b . " + k.Name())
		want := m.index(k.Name())
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if have[name] != want[name] {
				wrong = append(wrong, fmt.Sprintf("%s: %s is %q; depmod makes it %q", k.Name(), name, have[name], want[name]))
			}
		}
	}
	return wrong
}

// index reads the files of the index of a kernel.
func (m *machine) index(release string) map[string]string {
	m.Helper()
	files := map[string]string{}
	names, err := filepath.Glob(m.path("lib/modules/" + release + "/modules.*"))
	m.must(err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		m.must(err)
		files[filepath.Base(name)] = string(data)
	}
	return files
}

// world is what may be found after a fault.
type world struct {
	// sets are the sets of modules that kernels may have, as modules gives
	// them: before, after and, where a command is several transactions,
	// between.
	sets []string
	// whole are the digests of all modules that were ever whole.
	whole map[string]bool
	// originals are the digests of modules of the kernel that must not get
	// lost, by their path.
	originals map[string]string
}

func (w *world) add(m *machine) {
	w.sets = append(w.sets, m.modules())
	if w.whole == nil {
		w.whole = map[string]bool{}
	}
	m.walk("lib/modules", func(rel string, d fs.DirEntry) {
		if _, _, ok := module.ParseSuffix(rel); ok && d.Type().IsRegular() {
			w.whole[m.digest(rel)] = true
		}
	})
}

// torn lists modules that are none of those that were ever whole, and lost
// originals: nothing may ever be so, not even between a fault and the next
// run.
func (w *world) torn(m *machine) (list []string) {
	m.Helper()
	m.walk("lib/modules", func(rel string, d fs.DirEntry) {
		if _, _, ok := module.ParseSuffix(rel); ok && d.Type().IsRegular() && !w.whole[m.digest(rel)] {
			list = append(list, fmt.Sprintf("%s is torn: %d bytes", rel, m.size(rel)))
		}
	})
	for path, sum := range w.originals {
		if !w.keeps(m, path, sum) {
			list = append(list, path+" is lost")
		}
	}
	return list
}

// keeps tells whether an original is in its place, or in the archive with a
// note of where it came from.
func (w *world) keeps(m *machine, path, sum string) bool {
	if system.IsFile(m.path(path)) && m.digest(path) == sum {
		return true
	}
	archived, _ := filepath.Glob(m.tree("*/original_module/*/*/" + filepath.Base(path)))
	for _, a := range archived {
		rel, err := filepath.Rel(m.root, a)
		m.must(err)
		origin, err := os.ReadFile(a + ".origin")
		if err == nil && m.digest(rel) == sum && string(origin) == m.path(path)+"\n" {
			return true
		}
	}
	return false
}
