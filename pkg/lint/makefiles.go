package lint

import (
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/system"
)

// makefile is one makefile of the sources.
type makefile struct {
	path  string
	lines []makeLine
}

// makeLine is a line of a makefile, with those that continue it.
type makeLine struct {
	number int
	text   string
	// recipe says that the line is a command of a rule.
	recipe bool
}

const (
	maxMakefile   = 1 << 20 // bytes
	mostMakefiles = 200
)

func readMakefile(path string) *makefile {
	data, err := system.ReadRegular(path, maxMakefile)
	if err != nil {
		return nil
	}
	f := &makefile{path: path}
	number, whole := 0, makeLine{}
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if whole.number == 0 {
			whole = makeLine{number: number, recipe: strings.HasPrefix(line, "\t")}
		}
		part, continued := strings.CutSuffix(line, `\`)
		whole.text += part
		if continued {
			whole.text += " "
			continue
		}
		if !strings.HasPrefix(strings.TrimSpace(whole.text), "#") {
			f.lines = append(f.lines, whole)
		}
		whole = makeLine{}
	}
	return f
}

var (
	here      = pattern(`\$[({](PWD|CURDIR|src|obj|M|KBUILD_EXTMOD|srctree/\$\(src\)|shell pwd)[)}]`)
	inclusion = pattern(`^\s*-?s?include\s+(.*)`)
	intoDirs  = pattern(`(?:\s-C\s*|\s--directory[= ]|\bcd\s+|\bM=)("[^"]*"|'[^']*'|[^\s;&|]+)`)
	namedFile = pattern(`\s(?:-f\s*|--file[= ]|--makefile[= ])("[^"]*"|'[^']*'|[^\s;&|]+)`)
	objects   = pattern(`^\s*obj-(?:m|y|[$][({][A-Za-z0-9_]+[)}])\s*[:+?]?=\s*(.*)`)
)

// reach returns the makefiles of the sources that a build can reach: those
// at the top and where modules are built, and those that MAKE and other
// makefiles name.
func (l *linter) reach(m *conf.Module) []*makefile {
	r := reached{top: l.Dir}
	r.dir("")
	for _, record := range m.Records {
		r.dir(record.BuiltLocation)
	}
	for _, i := range m.Make.Indexes() {
		r.named("", m.Make[i])
	}
	for i := 0; i < len(r.found) && i < mostMakefiles; i++ {
		f := r.found[i]
		dir, _ := filepath.Rel(l.Dir, filepath.Dir(f.path))
		for _, line := range f.lines {
			if m := inclusion().FindStringSubmatch(line.text); m != nil && !line.recipe {
				for _, word := range strings.Fields(m[1]) {
					r.file(dir, word)
					l.partial = l.partial || strings.Contains(word, "$")
				}
			}
			if m := objects().FindStringSubmatch(line.text); m != nil {
				for _, word := range strings.Fields(m[1]) {
					if strings.HasSuffix(word, "/") {
						r.dir(filepath.Join(dir, word))
					}
				}
			}
			r.named(dir, line.text)
		}
	}
	return r.found
}

// reached are the makefiles that were found.
type reached struct {
	top   string
	found []*makefile
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
	if slices.ContainsFunc(r.found, func(f *makefile) bool { return f.path == path }) {
		return
	}
	if f := readMakefile(path); f != nil {
		r.found = append(r.found, f)
	}
}

// makes lists the modules that makefiles make in a directory; whole says that
// no other can be made there.
func makes(files []*makefile) (names []string, whole bool) {
	any := false
	for _, f := range files {
		values := f.literals()
		for _, line := range f.lines {
			m := objects().FindStringSubmatch(line.text)
			if m == nil || line.recipe {
				continue
			}
			any = true
			text, _, _ := strings.Cut(m[1], "#")
			text = variable().ReplaceAllStringFunc(text, func(v string) string {
				if value, ok := values[v[2:len(v)-1]]; ok {
					return value
				}
				return v
			})
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
	slices.Sort(names)
	return slices.Compact(names), any
}

var variable = pattern(`\$[({][A-Za-z_][A-Za-z0-9_]*[)}]`)

// literals are the variables that a makefile sets once, to plain words.
func (f *makefile) literals() map[string]string {
	values, times := map[string]string{}, map[string]int{}
	for _, line := range f.lines {
		if m := makeVariable().FindStringSubmatch(line.text); m != nil && !line.recipe {
			_, value, _ := strings.Cut(line.text, "=")
			value, _, _ = strings.Cut(value, "#")
			times[m[1]]++
			values[m[1]] = strings.TrimSpace(value)
		}
	}
	for name, value := range values {
		if times[name] > 1 || strings.Contains(value, "$") {
			delete(values, name)
		}
	}
	return values
}

var (
	condition   = pattern(`^\s*(ifeq|ifneq|ifdef|ifndef)\b\s*(.*)`)
	kernelBuild = pattern(`^\(?\s*["']?(?:\$[({]KERNELRELEASE[)}]|KERNELRELEASE)["']?\s*,?\s*["']?["']?\s*\)?\s*$`)
	alternative = pattern(`^\s*(else|endif)\b`)
	rule        = pattern(`^[^\s#=:][^=:]*::?(?:[^=]|$)`)
)

// onlyOutside returns the line of the condition on KERNELRELEASE that hides all
// rules of a makefile once KERNELRELEASE is set, or 0.
func (f *makefile) onlyOutside() int {
	var hidden []bool // of each open condition
	at, rules, seen := 0, 0, 0
	for _, line := range f.lines {
		m := condition().FindStringSubmatch(line.text)
		switch {
		case line.recipe:
		case m != nil && kernelBuild().MatchString(m[2]):
			hidden = append(hidden, m[1] == "ifeq" || m[1] == "ifndef")
			at = line.number
		case m != nil:
			hidden = append(hidden, false)
		case alternative().MatchString(line.text) && len(hidden) > 0:
			last := len(hidden) - 1
			if strings.HasPrefix(strings.TrimSpace(line.text), "endif") {
				hidden = hidden[:last]
			} else if at > 0 && last == 0 {
				hidden[last] = !hidden[last]
			}
		case rule().MatchString(line.text) && !strings.HasPrefix(line.text, "."):
			rules++
			if !slices.Contains(hidden, true) {
				seen++
			}
		}
	}
	if rules == 0 || seen > 0 {
		return 0
	}
	return at
}
