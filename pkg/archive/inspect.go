package archive

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Layout describes an unpacked archive.
type Layout struct {
	// Source is the directory of the sources, or "".
	Source string
	// BinariesOnly is the directory with the dkms.conf of an archive without
	// sources, or "".
	BinariesOnly string
	// Builds are the builds, in the order of their names.
	Builds []Build
	// Plain says that mktarball did not make the archive, so it holds plain
	// sources.
	Plain bool
}

// Inspect describes the content of the directory dir, into which an archive was
// unpacked. No directory in the Layout holds a link that leads out of it.
func Inspect(dir string) (Layout, error) {
	var l Layout
	var err error
	if isRealDir(filepath.Join(dir, buildsDir)) {
		l, err = inspectOurs(dir)
	} else {
		l, err = inspectPlain(dir)
	}
	if err != nil {
		return Layout{}, err
	}
	for _, part := range l.parts() {
		if err := linksInside(part); err != nil {
			return Layout{}, err
		}
	}
	return l, nil
}

// parts returns the directories that the caller will move into the tree.
func (l Layout) parts() []string {
	var list []string
	for _, dir := range []string{l.Source, l.BinariesOnly} {
		if dir != "" {
			list = append(list, dir)
		}
	}
	for _, b := range l.Builds {
		list = append(list, b.Dir)
	}
	return list
}

// inspectOurs describes an archive of mktarball.
func inspectOurs(dir string) (Layout, error) {
	var l Layout
	switch source, binaries := filepath.Join(dir, sourceDir), filepath.Join(dir, binariesDir); {
	case hasConf(source):
		l.Source = source
	case hasConf(binaries):
		l.BinariesOnly = binaries
	default:
		return l, exit.Errorf(exit.BadArchive, "neither %s nor %s holds a %s", sourceDir, binariesDir, confFile)
	}
	var err error
	l.Builds, err = inspectBuilds(filepath.Join(dir, buildsDir))
	return l, err
}

// inspectBuilds lists the builds KERNEL/ARCH below dir. As in the dkms tree,
// hidden names and directories without modules are not builds.
func inspectBuilds(dir string) ([]Build, error) {
	var list []Build
	kernels, err := realDirs(dir)
	if err != nil {
		return nil, err
	}
	for _, k := range kernels {
		arches, err := realDirs(filepath.Join(dir, k))
		if err != nil {
			return nil, err
		}
		for _, a := range arches {
			b := Build{Kernel: k, Arch: a, Dir: filepath.Join(dir, k, a)}
			if !isRealDir(filepath.Join(b.Dir, "module")) {
				continue
			}
			if err := (tree.Target{Kernel: k, Arch: a}).Check(); err != nil {
				return nil, exit.Errorf(exit.BadArchive, "%s: %w", buildsDir, err)
			}
			list = append(list, b)
		}
	}
	return list, nil
}

// realDirs lists the directories in dir that are not hidden.
func realDirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// inspectPlain finds the first dkms.conf, level by level and in byte order on
// each level. The dkms.conf nearest the top is the module's; one further down
// may be an example.
func inspectPlain(dir string) (Layout, error) {
	for level := []string{dir}; len(level) > 0; {
		var next []string
		for _, d := range level {
			if hasConf(d) {
				return Layout{Source: d, Plain: true}, nil
			}
			below, err := os.ReadDir(d)
			if err != nil {
				return Layout{}, err
			}
			for _, e := range below {
				if e.IsDir() {
					next = append(next, filepath.Join(d, e.Name()))
				}
			}
		}
		level = next
	}
	return Layout{}, exit.Errorf(exit.NotAdded, "the archive holds no %s", confFile)
}

// isRealDir reports whether path is a directory and not a link to a directory.
func isRealDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().Type() == fs.ModeDir
}

// hasConf reports whether the directory dir itself holds a dkms.conf.
func hasConf(dir string) bool {
	return isRealDir(dir) && system.IsFile(filepath.Join(dir, confFile))
}

// linksInside makes sure that no symbolic link below dir leads out of dir. The
// caller will move dir, and the same "../.." would lead elsewhere from there.
func linksInside(dir string) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if err := localLink(rel, target); err != nil {
			return exit.Errorf(exit.BadArchive, "%s: %w", file, err)
		}
		return nil
	})
}
