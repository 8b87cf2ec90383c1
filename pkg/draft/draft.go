// Package draft writes the first dkms.conf of sources, and the Makefile where
// there is none, from what the sources themselves say.
//
// It guarantees that it only reads the sources, that what it writes comes from
// them, and that what it cannot know is an error or a note for the author.
package draft

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/makefile"
	"dkms/pkg/system"
)

// Draft is what the sources lack.
type Draft struct {
	// Name and Version are PACKAGE_NAME and PACKAGE_VERSION.
	Name, Version string
	// Modules are the names of the modules.
	Modules []string
	// Files are to be written, in this order.
	Files []File
	// Notes are for the author: where a value comes from that may be another.
	Notes []string
}

// File is a file in the directory of the sources.
type File struct{ Name, Text string }

// first is the version of sources that have none.
const first = "0.1"

// destination is where modules are installed, on distributions that have no
// place of their own for them.
const destination = "/updates/dkms"

// Of returns the draft for the sources in dir, an absolute path. tag returns
// the last tag of the version control, or "". The error says what has to be
// written by hand.
func Of(dir string, tag func() string) (*Draft, error) {
	d := &Draft{}
	sources := readSources(dir)
	builds, err := d.builds(dir, sources)
	if err != nil {
		return nil, err
	}
	for _, b := range builds {
		for _, m := range b.Modules {
			if slices.Contains(d.Modules, m.Name) {
				return nil, exit.Errorf(exit.BadConf, "%s:%d: another module is called %s, too: a kernel has one module of a name", m.File, m.Line, m.Name)
			}
			d.Modules = append(d.Modules, m.Name)
			if m.Unsure {
				d.notef("%s:%d: a condition decides whether %s is made: take it out of dkms.conf if it is not made for every kernel", m.File, m.Line, m.Name)
			}
		}
	}
	d.version(dir, sources, tag)
	d.name(dir)
	text, err := d.conf(builds)
	if err != nil {
		return nil, err
	}
	d.Files = append(d.Files, File{"dkms.conf", text})
	return d, nil
}

func (d *Draft) notef(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// builds returns what makes the modules. It drafts the Makefile of a directory
// that has neither Makefile nor Kbuild.
func (d *Draft) builds(dir string, sources []source) ([]makefile.Build, error) {
	builds, err := makefile.Builds(dir)
	switch {
	case err != nil:
		return nil, exit.Errorf(exit.BadConf, "%w", err).WithHint("write the names of the modules behind obj-m, as in: obj-m := hello.o")
	case len(builds) > 0:
		return builds, nil
	}
	for _, name := range []string{"GNUmakefile", "makefile", "Makefile", "Kbuild"} {
		if path := filepath.Join(dir, name); system.IsFile(path) {
			return nil, exit.Errorf(exit.BadConf, "%s makes no module: neither it nor a makefile that it reaches has obj-m", path).
				WithHint("add obj-m := NAME.o for the module of NAME.c")
		}
	}
	b := makefile.Build{Dir: "."}
	var others []string
	for _, s := range sources {
		switch {
		case filepath.Dir(s.name) != ".":
		case s.begins:
			b.Modules = append(b.Modules, makefile.Module{Name: strings.TrimSuffix(s.name, ".c"), Dir: "."})
		default:
			others = append(others, s.name)
		}
	}
	switch {
	case len(b.Modules) == 0:
		return nil, exit.Errorf(exit.BadConf, "%s: there is no Makefile, and no C file that begins a module", dir).
			WithHint("dkms init DIRECTORY, where the Makefile or the file with module_init is")
	case len(others) > 0:
		return nil, exit.Errorf(exit.BadConf, "%s: there is no Makefile, and which module %s belongs to is not known", dir, strings.Join(others, ", ")).
			WithHint("write a Makefile with obj-m := NAME.o and NAME-y := with its parts, as in: NAME-y := main.o %s.o", strings.TrimSuffix(others[0], ".c"))
	}
	text := "obj-m :="
	for _, m := range b.Modules {
		text += " " + m.Name + ".o"
	}
	d.Files = append(d.Files, File{"Makefile", text + "\n"})
	return []makefile.Build{b}, nil
}

// version chooses the version: MODULE_VERSION of the file that has the name of
// a module, or else of another, or else the tag, or else what the name of the
// directory ends in.
func (d *Draft) version(dir string, sources []source, tag func() string) {
	chosen, others := source{}, []string{}
	for _, own := range []bool{true, false} {
		for _, s := range sources {
			base := strings.TrimSuffix(filepath.Base(s.name), ".c")
			switch {
			case !plain().MatchString(s.version) || slices.Contains(d.Modules, base) != own:
			case chosen.version == "":
				chosen = s
			case s.version != chosen.version:
				others = append(others, s.name+" has "+s.version)
			}
		}
	}
	if d.Version = chosen.version; d.Version != "" {
		if len(others) > 0 {
			d.notef("PACKAGE_VERSION is MODULE_VERSION of %s; %s", chosen.name, strings.Join(others, ", "))
		}
		return
	}
	d.Version = first
	from, why := "", "no source has MODULE_VERSION"
	if i := slices.IndexFunc(sources, func(s source) bool { return s.has }); i >= 0 {
		why = "MODULE_VERSION of " + sources[i].name + " is none that can be read or taken"
	}
	if t := strings.TrimLeft(tag(), "vV"); plain().MatchString(t) {
		d.Version, from = t, ", from the last tag"
	} else if m := versionBehind().FindStringSubmatch(filepath.Base(dir)); m != nil {
		d.Version, from = m[1], ", from the name of the directory"
	}
	d.notef("PACKAGE_VERSION is %s%s: %s", d.Version, from, why)
}

// plain is what needs no quoting in a shell, and can be a file name.
var plain = system.Pattern(`^[A-Za-z0-9_][A-Za-z0-9_.+~-]*$`)

// name chooses the name: that of the only module, or else of the directory,
// without the version behind it.
func (d *Draft) name(dir string) {
	d.Name = d.Modules[0]
	if base := versionBehind().ReplaceAllString(filepath.Base(dir), ""); len(d.Modules) > 1 && plain().MatchString(base) {
		d.Name = base
	}
}

var versionBehind = system.Pattern(`-v?([0-9][A-Za-z0-9_.+~]*)$`)

// conf returns the text of dkms.conf.
func (d *Draft) conf(builds []makefile.Build) (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "PACKAGE_NAME=\"%s\"\nPACKAGE_VERSION=\"%s\"\nAUTOINSTALL=\"yes\"\n", d.Name, d.Version)
	usual, commands, n := true, []string{}, 0
	for _, of := range builds {
		command := "make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build"
		if of.Dir != "." {
			command += "/" + of.Dir
		}
		for _, option := range of.Options {
			command += " " + option + "=m"
		}
		commands = append(commands, command)
		usual = usual && of.Dir == "." && len(of.Options) == 0
		for _, m := range of.Modules {
			if err := quotable(of.Dir, m); err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "\nBUILT_MODULE_NAME[%d]=\"%s\"\n", n, m.Name)
			if m.Dir != "." {
				fmt.Fprintf(&b, "BUILT_MODULE_LOCATION[%d]=\"%s\"\n", n, m.Dir)
			}
			fmt.Fprintf(&b, "DEST_MODULE_LOCATION[%d]=\"%s\"\n", n, destination)
			n++
		}
	}
	if !usual {
		fmt.Fprintf(&b, "\nMAKE[0]=\"%s\"\n", strings.Join(commands, " && "))
	}
	return b.String(), nil
}

// quotable rejects names that would mean something to a shell.
func quotable(dir string, m makefile.Module) error {
	for part := range strings.SplitSeq(filepath.Join(dir, m.Dir, m.Name), "/") {
		if !plain().MatchString(part) {
			return exit.Errorf(exit.BadConf, "%s:%d: %s: a name of other characters than letters, digits and _.+~- is not written by dkms init", m.File, m.Line, part)
		}
	}
	return nil
}
