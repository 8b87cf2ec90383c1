// Package pack makes packages of distributions that hold kernel modules, with
// the distribution's own program, and asks the databases of installed packages
// which of them a kernel belongs to.
//
// It guarantees that a package holds exactly the bytes that it was given, which
// is verified after the program has made it, that no program which makes a
// package runs as root where root can start it as another user, and that a
// package is at its place completely or not at all.
package pack

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// Package is the content of a package: the modules of one version for one
// kernel.
type Package struct {
	// Module and Version are those of the module version, Kernel and Arch those
	// of the kernel, by the names of uname.
	Module, Version, Kernel, Arch string
	// License is what the modules say of themselves.
	License string
	// Packager is the one who answers for the package, as NAME <MAIL>.
	Packager string
	// Files are the files by their absolute paths on the machine that installs
	// the package.
	Files []File
	// Kernels is the directory of the kernels there.
	Kernels string
	// Needs are the packages that this one depends on.
	Needs []Need
	// Facts tell where the modules come from.
	Facts []Fact
	// Time is the time of all files, and of the package.
	Time time.Time
}

// File is a file of a package: the content Data, or that of the file From.
type File struct {
	Path string
	From string
	Data []byte
}

func (f File) read() ([]byte, error) {
	if f.From == "" {
		return f.Data, nil
	}
	return os.ReadFile(f.From)
}

// Need is a package that another depends on, in this very version, or in any if
// Version is empty.
type Need struct{ Name, Version string }

// OtherModule is the need for the package of another module version for the
// same kernel.
func (p *Package) OtherModule(format, module, version string) Need {
	return Need{NameOf(module, p.Kernel), full(formats[format], version)}
}

// Fact is one line about the origin of a package.
type Fact struct{ Name, Value string }

// Name is the name of the package: MODULE-modules-KERNEL, in lower case and
// without characters that not all formats permit.
func (p *Package) Name() string { return NameOf(p.Module, p.Kernel) }

// Records is the directory below which a package has, under its own name, the
// files that tell of its origin. Files of documentation can be left out when a
// package is installed, and these should not be.
const Records = "/usr/share/dkms-modules"

// NameOf is the name of the package of a module for a kernel.
func NameOf(module, kernel string) string { return virtual(module) + plain("-"+kernel) }

// virtual is the name that the packages of a module for all kernels provide.
func virtual(module string) string { return plain(module) + "-modules" }

// plain returns a name that dpkg, rpm, pacman and apk accept.
func plain(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '+', c == '-':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '-'
	}, name)
}

// version replaces the characters of a version that a format does not permit.
func version(v, permitted, by string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(permitted, c) {
			return c
		}
		return rune(by[0])
	}, v)
}

// format makes packages of one kind.
type format interface {
	// programs are the programs that are needed, and install the command or
	// words that bring them.
	programs() (names []string, install string)
	// version is a version of a module as the format permits it, release the
	// number of the packaging behind it, and arch the format's name of an
	// architecture.
	version(v string) string
	release() string
	arch(name string) string
	// file is the pattern of the name of a file: name, full version and
	// architecture.
	file() string
	// relation is the pattern of a need for a version: name and full version.
	relation() string
	// build makes the package as the file out in the directory of the job.
	build(ctx context.Context, j *job) error
	// contents returns the digests of the files of a package.
	contents(ctx context.Context, run *system.Runner, file string) (map[string]string, error)
	// owner returns the package that a file of a kernel belongs to, as what a
	// package for the kernel depends on.
	owner(ctx context.Context, d database, file, kernel string) (need Need, ok bool)
}

// formats are the known formats.
var formats = map[string]format{"deb": deb{}, "rpm": rpm{}, "pacman": pacman{}, "apk": apk{}}

// Formats are the names of the known formats.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// Known tells whether format is the name of a format.
func Known(format string) bool { return formats[format] != nil }

// Check returns an error if the programs of a format are not installed.
func Check(run *system.Runner, format string) error {
	names, install := formats[format].programs()
	for _, name := range names {
		if !run.Has(name) {
			return exit.Errorf(exit.Usage, "--format %s: %s is not installed", format, name).WithHint("%s", install)
		}
	}
	return nil
}

// FileName is the usual name of the file of a package.
func FileName(format string, p *Package) string { return fileName(formats[format], p) }

func fileName(f format, p *Package) string {
	return fmt.Sprintf(f.file(), p.Name(), full(f, p.Version), f.arch(p.Arch))
}

// full is the version of a package, with the number of the packaging behind.
func full(f format, v string) string { return f.version(v) + f.release() }

// Words returns how a need is written in a format.
func Words(format string, n Need) string { return words(formats[format], n) }

func words(f format, n Need) string {
	if n.Version == "" {
		return n.Name
	}
	return fmt.Sprintf(f.relation(), n.Name, n.Version)
}

// safe tells whether a word may be part of a path or a script of a package: the
// formats have no common way to quote other characters.
func safe(word string) bool { return word != "" && version(word, "_./+~:=@,-", "\x00") == word }

// check refuses names that cannot be part of a package.
func (p *Package) check() error {
	words := []string{p.Module, p.Version, p.Kernel, p.Arch}
	for _, f := range p.Files {
		words = append(words, f.Path)
	}
	for _, w := range words {
		if !safe(w) {
			return exit.Errorf(exit.Usage, "%q cannot be part of a package", w)
		}
	}
	return nil
}

// Write makes a package as the file path, which it replaces. temp is the
// directory for temporary files, and user runs the programs instead of root; 0
// stands for the caller's own user.
func Write(ctx context.Context, run *system.Runner, format string, p *Package, path, temp string, user int) error {
	if err := p.check(); err != nil {
		return err
	}
	f := formats[format]
	return made(ctx, &job{run: run, p: p, user: user}, path, temp, func(j *job) error {
		if err := f.build(ctx, j); err != nil {
			return err
		}
		got, err := f.contents(ctx, run, filepath.Join(j.dir, out))
		if err == nil {
			err = p.compare(got)
		}
		if err != nil {
			return fmt.Errorf("the new package is not used: %w", err)
		}
		return nil
	})
}
