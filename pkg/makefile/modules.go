package makefile

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// Names lists the modules that makefiles make; whole says that no other can be
// made.
func Names(files []*File) (names []string, whole bool) {
	for _, f := range files {
		values := f.literals()
		for _, line := range f.Lines {
			m := objects().FindStringSubmatch(line.Text)
			if m == nil || line.Recipe {
				continue
			}
			whole = true
			text := expand(m[2], values)
			if strings.Contains(text, "$") {
				return nil, false
			}
			for _, word := range strings.Fields(text) {
				if name, ok := strings.CutSuffix(filepath.Base(word), ".o"); ok {
					names = append(names, name)
				}
			}
		}
	}
	return compact(names), whole
}

// Module is a module that the kernel's build makes.
type Module struct {
	// Name is the file name without .ko, and Dir its directory, relative to the
	// top of the sources; the top itself is ".".
	Name, Dir string
	// File and Line are where obj-m has it. Unsure says that a condition of
	// the makefile decides whether it is made.
	File   string
	Line   int
	Unsure bool
}

// Build is one call of the kernel's build, "make -C HEADERS M=DIRECTORY".
type Build struct {
	// Dir is the directory, relative to the top of the sources.
	Dir     string
	Modules []Module
	// Options are variables of obj-$(OPTION) that the call has to set to m.
	Options []string
}

// Builds returns the calls of the kernel's build that make all modules of the
// sources in top: one for top, if that makes any, or else one for each
// directory that a makefile reaches and that makes some. The error is a line
// whose modules only make can know.
func Builds(top string) ([]Build, error) {
	files, _ := Reach(top, nil, nil)
	chosen := options(files)
	for _, all := range []bool{false, true} {
		list, err := builds(top, files, func(option string) bool { return all || chosen[option] })
		if err != nil || len(list) > 0 {
			return list, err
		}
	}
	return nil, nil
}

// builds is [Builds] with the options that are set to m.
func builds(top string, files []*File, chosen func(string) bool) (list []Build, err error) {
	seen := map[string]bool{}
	for _, f := range files {
		dir, _ := filepath.Rel(top, filepath.Dir(f.Path))
		w := walk{top: top, chosen: chosen, seen: seen, options: map[string]bool{}}
		if err := w.dir(dir); err != nil {
			return nil, err
		}
		if len(w.modules) > 0 {
			list = append(list, Build{Dir: dir, Modules: w.modules, Options: slices.Sorted(maps.Keys(w.options))})
		}
		if dir == "." && len(w.modules) > 0 {
			break
		}
	}
	return list, nil
}

var setToModule = system.Pattern(`\b([A-Za-z0-9_]+)\s*[:?]?=\s*["']?m\b`)

// options are the variables that some makefile sets to m, in whatever way.
func options(files []*File) map[string]bool {
	set := map[string]bool{}
	for _, f := range files {
		for _, line := range f.Lines {
			for _, m := range setToModule().FindAllStringSubmatch(line.Text, -1) {
				set[m[1]] = true
			}
		}
	}
	return set
}

// walk is the way of one call of the kernel's build through the sources.
type walk struct {
	top    string
	chosen func(option string) bool
	// seen are the directories that this or another call was in, and the
	// makefiles that were included.
	seen    map[string]bool
	modules []Module
	options map[string]bool
}

// dir reads a directory as the kernel's build does: its Kbuild or else its
// Makefile.
func (w *walk) dir(dir string) error {
	dir = filepath.Clean(dir)
	if w.seen[dir] || !filepath.IsLocal(dir) {
		return nil
	}
	w.seen[dir] = true
	for _, name := range []string{"Kbuild", "Makefile"} {
		if f := read(filepath.Join(w.top, dir, name)); f != nil {
			return w.file(dir, f, f.literals())
		}
	}
	return nil
}

// file reads a makefile and those that it includes. Variables are those of the
// makefile of the directory and of what is included.
func (w *walk) file(dir string, f *File, values map[string]string) error {
	for _, line := range f.Lines {
		if line.Recipe || line.Hidden {
			continue
		}
		if m := inclusion().FindStringSubmatch(line.Text); m != nil {
			if err := w.include(dir, expand(m[1], values), values); err != nil {
				return err
			}
		}
		m := objects().FindStringSubmatch(line.Text)
		if m == nil {
			continue
		}
		kind := expand(m[1], values)
		option := strings.Trim(kind, "$(){}")
		switch {
		case kind == "m" || kind == "y":
		case option == kind || !w.chosen(option): // the makefile itself says no, or nobody says yes
			continue
		}
		text := expand(m[2], values)
		if strings.Contains(text, "$") {
			return fmt.Errorf("%s:%d: obj-%s: only make knows what %s is", f.Path, line.Number, m[1], strings.TrimSpace(text))
		}
		for _, word := range strings.Fields(text) {
			made := strings.HasSuffix(word, ".o") && kind != "y"
			if !made && !strings.HasSuffix(word, "/") {
				continue
			}
			if option != kind {
				w.options[option] = true
			}
			if !made {
				if err := w.dir(filepath.Join(dir, word)); err != nil {
					return err
				}
				continue
			}
			path := filepath.Join(dir, strings.TrimSuffix(word, ".o"))
			w.module(Module{filepath.Base(path), filepath.Dir(path), f.Path, line.Number, line.Unsure})
		}
	}
	return nil
}

// module adds a module. Several branches of a condition may have the same one.
func (w *walk) module(m Module) {
	for i, other := range w.modules {
		if other.Name == m.Name && other.Dir == m.Dir {
			w.modules[i].Unsure = other.Unsure && m.Unsure
			return
		}
	}
	w.modules = append(w.modules, m)
}

// include reads the makefiles of an include line that are among the sources.
func (w *walk) include(dir, words string, values map[string]string) error {
	r := reached{top: w.top}
	for _, word := range strings.Fields(words) {
		r.file(dir, word)
	}
	for _, f := range r.found {
		if w.seen[f.Path] {
			continue
		}
		w.seen[f.Path] = true
		for name, value := range f.literals() {
			if _, known := values[name]; !known {
				values[name] = value
			}
		}
		if err := w.file(dir, f, values); err != nil {
			return err
		}
	}
	return nil
}
