// Package makefile reads the makefiles of kernel modules without running make:
// which makefiles a build can reach, and which modules the kernel's build makes
// of them.
//
// It guarantees that it reads only below the directory of the sources, and that
// a name is never guessed: what only make can know is an error, or is marked
// as unknown. Reference: Documentation/kbuild of the kernel, makefiles.rst and
// modules.rst.
package makefile

import (
	"slices"
	"strings"

	"dkms/pkg/system"
)

// File is one makefile of the sources.
type File struct {
	Path  string
	Lines []Line
}

// Line is a line of a makefile, with those that continue it.
type Line struct {
	Number int
	Text   string
	// Recipe says that the line is a command of a rule.
	Recipe bool
	// Hidden says that the kernel's build passes over the line, because of a
	// condition on KERNELRELEASE. Unsure says that another condition decides.
	Hidden, Unsure bool

	// release is the line of the condition on KERNELRELEASE around this line.
	release int
}

// Sets returns the variable that the line sets, or "".
func (l Line) Sets() string {
	if m := assignment().FindStringSubmatch(l.Text); m != nil {
		return m[1]
	}
	return ""
}

const (
	maxSize = 1 << 20 // bytes
	most    = 200     // makefiles
)

// read returns nil for a file that is not there or not a makefile.
func read(path string) *File {
	data, err := system.ReadRegular(path, maxSize)
	if err != nil {
		return nil
	}
	f := &File{Path: path}
	number, whole := 0, Line{}
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if whole.Number == 0 {
			whole = Line{Number: number, Recipe: strings.HasPrefix(line, "\t")}
		}
		part, continued := strings.CutSuffix(line, `\`)
		whole.Text += part
		if continued {
			whole.Text += " "
			continue
		}
		if !strings.HasPrefix(strings.TrimSpace(whole.Text), "#") {
			f.Lines = append(f.Lines, whole)
		}
		whole = Line{}
	}
	f.conditions()
	return f
}

var (
	assignment  = system.Pattern(`^\s*(?:export\s+|override\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*[:?+]{0,3}=`)
	variable    = system.Pattern(`\$[({][A-Za-z_][A-Za-z0-9_]*[)}]`)
	condition   = system.Pattern(`^\s*(ifeq|ifneq|ifdef|ifndef)\b\s*(.*)`)
	kernelBuild = system.Pattern(`^\(?\s*["']?(?:\$[({]KERNELRELEASE[)}]|KERNELRELEASE)["']?\s*,?\s*["']?["']?\s*\)?\s*$`)
	alternative = system.Pattern(`^\s*(else|endif)\b\s*(\w*)`)
	rule        = system.Pattern(`^[^\s#=:][^=:]*::?(?:[^=]|$)`)
)

// branch is the part of an open condition that a line is in.
type branch struct {
	// release is the line of a condition on KERNELRELEASE; 0 is another.
	release int
	hidden  bool
}

// conditions notes in each line whether the kernel's build, which sets
// KERNELRELEASE, reads it.
func (f *File) conditions() {
	var open []branch
	for i := range f.Lines {
		line := &f.Lines[i]
		for _, b := range open {
			line.Hidden = line.Hidden || b.hidden
			line.Unsure = line.Unsure || b.release == 0
			line.release = max(line.release, b.release)
		}
		if line.Recipe {
			continue
		}
		if m := condition().FindStringSubmatch(line.Text); m != nil {
			b := branch{}
			if kernelBuild().MatchString(m[2]) {
				b = branch{line.Number, m[1] == "ifeq" || m[1] == "ifndef"}
			}
			open = append(open, b)
		} else if m := alternative().FindStringSubmatch(line.Text); m != nil && len(open) > 0 {
			last := &open[len(open)-1]
			switch {
			case m[1] == "endif":
				open = open[:len(open)-1]
			case last.release > 0 && m[2] == "":
				last.hidden = !last.hidden
			case last.release > 0: // "else ifeq": not reached where the first branch is read
				*last = branch{release: last.release, hidden: !last.hidden}
			}
		}
	}
}

// OnlyOutside returns the line of the condition on KERNELRELEASE that hides all
// rules of a makefile once KERNELRELEASE is set, or 0.
func (f *File) OnlyOutside() int {
	at := 0
	for _, line := range f.Lines {
		if line.Recipe || !rule().MatchString(line.Text) || condition().MatchString(line.Text) || strings.HasPrefix(line.Text, ".") {
			continue
		}
		if !line.Hidden {
			return 0
		}
		at = line.release
	}
	return at
}

// literals are the variables that a makefile sets once, to plain words.
func (f *File) literals() map[string]string {
	values, times := map[string]string{}, map[string]int{}
	for _, line := range f.Lines {
		if name := line.Sets(); name != "" && !line.Recipe && !line.Hidden {
			_, value, _ := strings.Cut(line.Text, "=")
			value, _, _ = strings.Cut(value, "#")
			times[name]++
			values[name] = strings.TrimSpace(value)
		}
	}
	for name, value := range values {
		if times[name] > 1 || strings.Contains(value, "$") {
			delete(values, name)
		}
	}
	return values
}

// expand puts the values of variables into text; those without one stay.
func expand(text string, values map[string]string) string {
	return variable().ReplaceAllStringFunc(text, func(v string) string {
		if value, ok := values[v[2:len(v)-1]]; ok {
			return value
		}
		return v
	})
}

// compact sorts names and drops those that are there twice.
func compact(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
