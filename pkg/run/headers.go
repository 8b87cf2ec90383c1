package run

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dkms/pkg/archive"
	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/version"
)

// withHeaders is the machine with the headers that --headers names: a
// directory, or packages that are not installed. Packages are unpacked into the
// directory aside.
func withHeaders(ctx context.Context, m *machine.Machine, words []string, choice machine.Choice, aside string) (*machine.Machine, error) {
	if len(words) == 0 {
		return m, nil
	}
	packages := 0
	var files []string
	for _, word := range words {
		file := m.Host.Abs(word)
		if archive.IsPackage(file) && !system.IsDir(file) {
			packages++
		}
		files = append(files, file)
	}
	switch {
	case packages == 0 && len(files) == 1:
		return m.WithHeaders(files[0], ""), nil
	case packages < len(files):
		return nil, exit.Errorf(exit.Usage, "--headers takes one directory, or packages of headers (.deb, .rpm, .pkg.tar.*, .gpkg.tar)").
			WithHint("dkms rehearse --headers DIRECTORY, or dkms rehearse --headers FILE.deb --headers FILE.deb")
	}
	u := &unpacked{Machine: m, dir: aside, files: files}
	dir, err := u.open(ctx, choice)
	if err != nil {
		return nil, err
	}
	return m.WithHeaders(dir, aside), nil
}

// unpacked is a set of packages of headers that are unpacked into dir.
type unpacked struct {
	*machine.Machine
	dir   string
	files []string
}

// open unpacks the packages and those that they refer to, and returns the
// directory of the headers.
func (u *unpacked) open(ctx context.Context, choice machine.Choice) (string, error) {
	if err := u.unpack(ctx); err != nil {
		return "", err
	}
	return u.choose(choice)
}

// unpack unpacks the packages and those that they refer to.
func (u *unpacked) unpack(ctx context.Context) error {
	if err := os.Mkdir(u.dir, 0o755); err != nil {
		return err
	}
	for done := 0; done < len(u.files); {
		for ; done < len(u.files); done++ {
			u.Report.Detailf("unpacking %s aside", u.files[done])
			if err := archive.UnpackPackage(ctx, u.Run, u.files[done], u.dir); err != nil {
				return err
			}
		}
		lost, err := u.lost()
		if err != nil {
			return err
		}
		for _, path := range lost {
			if file := u.beside(packageOf(path)); file != "" && !slices.Contains(u.files, file) {
				u.files = append(u.files, file)
			}
		}
		if done == len(u.files) && len(lost) > 0 {
			return u.missing(lost)
		}
	}
	return nil
}

// missing is the error of files that the headers refer to and that are nowhere.
func (u *unpacked) missing(paths []string) error {
	err := exit.Errorf(exit.NoHeaders, "%s refers to %s, which is neither in it nor installed", u.files[0], paths[0])
	var names []string
	for _, path := range paths {
		if name := packageOf(path); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return err.WithHint("name the package with this file with another --headers")
	}
	return err.WithHint("put the package %s into the same directory, or name it with another --headers", strings.Join(names, " and the package "))
}

// choose returns the directory of the headers of the one kernel in the
// packages, or of the chosen one of several.
func (u *unpacked) choose(choice machine.Choice) (string, error) {
	found := kernel.HeadersBelow(u.dir)
	releases := slices.SortedFunc(maps.Keys(found), version.Natural)
	switch {
	case len(releases) == 0:
		return "", exit.Errorf(exit.NoHeaders, "%s: holds no headers of a kernel", strings.Join(u.files, ", ")).
			WithHint("name the package with the headers of one kernel, such as linux-headers-RELEASE or kernel-devel")
	case len(choice.Kernels) == 1:
		release, _, _ := strings.Cut(choice.Kernels[0], "/")
		if found[release] != "" {
			return found[release], nil
		}
		return "", exit.Errorf(exit.NoHeaders, "%s: no headers for kernel %s, but for %s", strings.Join(u.files, ", "), release, strings.Join(releases, ", "))
	case len(releases) > 1:
		return "", exit.Errorf(exit.KernelCount, "%s: headers of %d kernels: %s", strings.Join(u.files, ", "), len(releases), strings.Join(releases, ", ")).
			WithHint("choose one with -k")
	}
	return found[releases[0]], nil
}

// packageOf guesses the package of a file that Debian's and Ubuntu's packages of
// headers refer to, or returns "".
func packageOf(path string) string {
	for _, place := range []string{"/usr/src/", "/usr/lib/"} {
		if rest, ok := strings.CutPrefix(path, place); ok && strings.HasPrefix(rest, "linux-") {
			name, _, _ := strings.Cut(rest, "/")
			return name
		}
	}
	return ""
}

// beside is the newest file of a package in the directories of the named files,
// or "".
func (u *unpacked) beside(name string) string {
	if name == "" {
		return ""
	}
	best := ""
	for _, file := range u.files {
		entries, _ := os.ReadDir(filepath.Dir(file))
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), name+"_") && strings.HasSuffix(e.Name(), ".deb") && version.Compare(e.Name(), filepath.Base(best)) > 0 {
				best = filepath.Join(filepath.Dir(file), e.Name())
			}
		}
	}
	return best
}

// lost makes what the headers refer to resolve: below the directory or, where a
// package is installed, on the machine. It returns the paths that are in
// neither, and those in a package beside that is not unpacked yet.
func (u *unpacked) lost() (paths []string, err error) {
	dirs := slices.Collect(maps.Values(kernel.HeadersBelow(u.dir)))
	entries, _ := os.ReadDir(filepath.Join(u.dir, "usr/src"))
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(u.dir, "usr/src", e.Name()))
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		more, dirErr := u.links(dir)
		err = errors.Join(err, dirErr)
		paths = append(paths, more...)
		more, dirErr = u.includes(filepath.Join(dir, "Makefile"))
		err = errors.Join(err, dirErr)
		paths = append(paths, more...)
	}
	return paths, err
}

// place is where a path of the packages is found; "" says that it is lost.
func (u *unpacked) place(path string) string {
	if file := filepath.Join(u.dir, path); exists(file) {
		return file
	}
	if more := u.beside(packageOf(path)); more != "" && !slices.Contains(u.files, more) {
		return ""
	}
	if file := u.Host.Root.Path(path); exists(file) {
		return file
	}
	return ""
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// links handles the links in a directory of headers; those to programs of the
// build lead to another package.
func (u *unpacked) links(dir string) (lost []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil // a link to a directory of another package, or a file
	}
	for _, e := range entries {
		link := filepath.Join(dir, e.Name())
		if e.Type()&fs.ModeSymlink == 0 || exists(link) {
			continue
		}
		target, err := os.Readlink(link)
		if err != nil {
			return nil, err
		}
		path, _ := filepath.Rel(u.dir, filepath.Join(dir, target))
		path = filepath.Clean("/" + path)
		place := u.place(path)
		if place == "" {
			lost = append(lost, path)
			continue
		}
		if err := system.ReplaceLink(link, place); err != nil {
			return nil, err
		}
	}
	return lost, nil
}

// maxMakefile bounds the makefile of a directory of headers, in bytes.
const maxMakefile = 1 << 20

// includes handles the makefile of a directory of headers. Debian's includes
// another makefile by its absolute path and, since Linux 6.13, names its own
// directory.
func (u *unpacked) includes(makefile string) (lost []string, err error) {
	if st, err := os.Lstat(makefile); err != nil || !st.Mode().IsRegular() {
		return nil, nil
	}
	text, err := system.ReadRegular(makefile, maxMakefile)
	if err != nil {
		return nil, err
	}
	include := regexp.MustCompile(`(?m)^(-?s?include[ \t]+|\w+[ \t]*[:?]?=[ \t]*)(/[^\s$]+)`)
	now := include.ReplaceAllStringFunc(string(text), func(line string) string {
		m := include.FindStringSubmatch(line)
		if m[2] == u.dir || strings.HasPrefix(m[2], u.dir+"/") {
			return line
		}
		switch place := u.place(m[2]); {
		case place != "":
			return m[1] + place
		case strings.Contains(m[1], "include"):
			lost = append(lost, m[2])
		}
		return line
	})
	if now == string(text) {
		return lost, nil
	}
	packed := filepath.Join(filepath.Dir(makefile), build.PackedMakefile)
	if !system.IsFile(packed) { // otherwise the makefile was changed before
		if err := os.Rename(makefile, packed); err != nil {
			return nil, err
		}
	}
	return lost, system.WriteFile(makefile, []byte(now), 0o644)
}
