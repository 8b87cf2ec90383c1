package makefile

import (
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

var (
	here      = system.Pattern(`\$[({](PWD|CURDIR|src|obj|M|KBUILD_EXTMOD|srctree/\$\(src\)|shell pwd)[)}]`)
	inclusion = system.Pattern(`^\s*-?s?include\s+(.*)`)
	intoDirs  = system.Pattern(`(?:\s-C\s*|\s--directory[= ]|\bcd\s+|\bM=)("[^"]*"|'[^']*'|[^\s;&|]+)`)
	namedFile = system.Pattern(`\s(?:-f\s*|--file[= ]|--makefile[= ])("[^"]*"|'[^']*'|[^\s;&|]+)`)
	objects   = system.Pattern(`^\s*obj-(m|y|[$][({][A-Za-z0-9_]+[)}])\s*[:+?]?=\s*([^#]*)`)
)

// Reach returns the makefiles below top that a build can reach: those at the
// top and in dirs, and those that commands and other makefiles name. partial
// says that a makefile includes one whose name only make knows.
func Reach(top string, dirs, commands []string) (files []*File, partial bool) {
	r := reached{top: top}
	for _, dir := range append([]string{""}, dirs...) {
		r.dir(dir)
	}
	for _, command := range commands {
		r.named("", command)
	}
	for i := 0; i < len(r.found) && i < most; i++ {
		f := r.found[i]
		dir, _ := filepath.Rel(top, filepath.Dir(f.Path))
		for _, line := range f.Lines {
			if m := inclusion().FindStringSubmatch(line.Text); m != nil && !line.Recipe {
				for _, word := range strings.Fields(m[1]) {
					r.file(dir, word)
					partial = partial || strings.Contains(word, "$")
				}
			}
			if m := objects().FindStringSubmatch(line.Text); m != nil {
				for _, word := range strings.Fields(m[2]) {
					if strings.HasSuffix(word, "/") {
						r.dir(filepath.Join(dir, word))
					}
				}
			}
			r.named(dir, line.Text)
		}
	}
	return r.found, partial
}

// reached are the makefiles that were found.
type reached struct {
	top   string
	found []*File
}

// named adds what a command names.
func (r *reached) named(dir, command string) {
	for _, m := range intoDirs().FindAllStringSubmatch(command, -1) {
		if to, ok := r.local(dir, m[1]); ok {
			r.dir(to)
		}
	}
	for _, m := range namedFile().FindAllStringSubmatch(command, -1) {
		r.file(dir, m[1])
	}
}

// local is a path of the sources, relative to their top, that a makefile in dir
// names. Nothing is known of paths with other variables.
func (r *reached) local(dir, word string) (string, bool) {
	word = strings.Trim(word, `"'`)
	if strings.Count(word, ")") > strings.Count(word, "(") { // the end of a subshell
		word = strings.TrimRight(word, ")")
	}
	if i := strings.LastIndex(word, "/build/"); i >= 0 && strings.HasPrefix(word, "/") { // of $dkms_tree
		dir, word = "", word[i+len("/build/"):]
	}
	word = here().ReplaceAllString(word, ".")
	path := filepath.Join(dir, word)
	return path, !strings.Contains(word, "$") && !filepath.IsAbs(word) && filepath.IsLocal(path)
}

// dir adds the makefiles of a directory.
func (r *reached) dir(dir string) {
	if dir != "" && !filepath.IsLocal(dir) {
		return
	}
	for _, name := range []string{"GNUmakefile", "makefile", "Makefile", "Kbuild"} {
		r.add(filepath.Join(r.top, dir, name))
	}
}

func (r *reached) file(dir, word string) {
	if path, ok := r.local(dir, word); ok {
		r.add(filepath.Join(r.top, path))
	}
}

func (r *reached) add(path string) {
	if slices.ContainsFunc(r.found, func(f *File) bool { return f.Path == path }) {
		return
	}
	if f := read(path); f != nil {
		r.found = append(r.found, f)
	}
}
