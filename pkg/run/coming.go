package run

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkms/pkg/archive"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/system"
)

// Transaction is what a package manager is about to do, as it says it.
type Transaction struct {
	// Manager is apt, pacman, dnf or portage.
	Manager string
	// In and Words are the standard input and the arguments of its hook.
	In    io.Reader
	Words []string
}

// Managers are the package managers that say what they are about to do.
var Managers = []string{"apt", "pacman", "dnf", "portage"}

// coming is what is about to be installed and removed, as far as it concerns
// modules.
type coming struct {
	// headers and modules are package files.
	headers, modules []string
	// leaving are the packages with modules whose present files go.
	leaving []string
	// images are the releases of kernel images.
	images []string
}

// read reads what the package manager says.
func (t Transaction) read(ctx context.Context, m *machine.Machine) (c coming, err error) {
	switch t.Manager {
	case "pacman":
		err = c.readPacman(ctx, m, t.In)
	case "dnf":
		err = c.readDnf(m, t.Words)
	case "portage":
		err = c.readPortage(m, t.In, t.Words)
	default:
		err = c.readApt(t.In, m.Host.Machine)
	}
	return c, err
}

var (
	debianHeaders = system.Pattern(`^linux-(.+-)?(headers|kbuild)-`)
	debianImage   = system.Pattern(`^linux-image-(unsigned-)?([0-9].*)$`)
	rpmHeaders    = system.Pattern(`^kernel(-.+)?-devel-`)
	gentooKernel  = system.Pattern(`^(gentoo|vanilla)-kernel-.*\.gpkg\.tar$`)
)

// readApt reads the description of a transaction that apt gives to
// DPkg::Pre-Install-Pkgs (apt.conf(5)), in version 1, 2 or 3: the paths of the
// package files, or lines NAME ... ACTION after a head that ends with an empty
// line, where ACTION is a path, **CONFIGURE** or **REMOVE**.
func (c *coming) readApt(in io.Reader, machine string) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	head, first := false, true
	for lines.Scan() {
		line := lines.Text()
		if first {
			head, first = strings.HasPrefix(line, "VERSION "), false
		}
		if head {
			head = line != ""
			continue
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		c.addDeb(fields[0], fields[len(fields)-1], machine)
	}
	return lines.Err()
}

// addDeb notes one package; a line of version 1 is its path alone.
func (c *coming) addDeb(name, action, machine string) {
	if filepath.IsAbs(action) {
		parts := strings.Split(strings.TrimSuffix(filepath.Base(action), ".deb"), "_")
		if of := kernel.OfDebian(parts[len(parts)-1]); of != "" && of != machine {
			return
		}
		name = parts[0]
	} else if action != "**REMOVE**" {
		return
	}
	removed := action == "**REMOVE**"
	image := debianImage().FindStringSubmatch(name)
	switch {
	case hasModules(name):
		c.leaving = append(c.leaving, name)
		if !removed {
			c.modules = append(c.modules, action)
		}
	case removed:
	case debianHeaders().MatchString(name):
		c.headers = append(c.headers, action)
	case image != nil && !strings.HasSuffix(image[2], "-dbg"):
		c.images = append(c.images, image[2])
	}
}

// hasModules reports whether a package has sources of modules, by its name.
func hasModules(name string) bool { return strings.Contains(name, "dkms") && name != "dkms" }

// readPacman reads the names of packages that a hook of pacman is given
// (NeedsTargets in alpm-hooks(5)), and finds their files. Whether a package goes
// or comes, pacman does not say: it goes if there is no file of it.
func (c *coming) readPacman(ctx context.Context, m *machine.Machine, in io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(in, maxList))
	if err != nil {
		return err
	}
	given := filesOfCaller()
	for _, name := range strings.Fields(string(text)) {
		file := given[name]
		if file == "" {
			file = cachedByPacman(ctx, m, name)
		}
		switch {
		case hasModules(name):
			c.leaving = append(c.leaving, name)
			if file != "" {
				c.modules = append(c.modules, file)
			}
		case file != "":
			c.headers = append(c.headers, file)
		default:
			m.Report.Warnf("%s: pacman does not say where its file is, so whether every module builds is not known before it is installed", name)
		}
	}
	return nil
}

// filesOfCaller returns the package files that the caller's arguments name, as
// those of "pacman -U FILE" do, by the names of the packages. A file is called
// NAME-VERSION-RELEASE-ARCHITECTURE.pkg.tar.zst.
func filesOfCaller() map[string]string {
	caller := "/proc/" + strconv.Itoa(os.Getppid())
	args, _ := os.ReadFile(caller + "/cmdline")
	dir, _ := os.Readlink(caller + "/cwd")
	files := map[string]string{}
	for arg := range strings.SplitSeq(string(args), "\x00") {
		file := strings.TrimPrefix(arg, "file://")
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		parts := strings.Split(filepath.Base(file), "-")
		if len(parts) > 3 && archive.IsPackage(file) && system.IsFile(file) {
			files[strings.Join(parts[:len(parts)-3], "-")] = file
		}
	}
	return files
}

// cachedByPacman is the file of a package that comes from a repository, or "".
func cachedByPacman(ctx context.Context, m *machine.Machine, name string) string {
	out, err := m.Run.Output(ctx, system.Cmd{Argv: []string{"pacman", "-Sddp", "--print-format", "%l", "--", name}})
	file, local := strings.CutPrefix(strings.TrimSpace(string(out)), "file://")
	if err != nil || !local || !system.IsFile(file) {
		return ""
	}
	return file
}

// readDnf finds the file of one package by the directory of dnf's cache and the
// package's place in its repository, which the plugin "actions" of dnf5 gives
// to its commands (libdnf5-actions(8)).
func (c *coming) readDnf(m *machine.Machine, words []string) error {
	if len(words) != 2 {
		return exit.Errorf(exit.Usage, "--hook=dnf takes two words: the directory of the cache, and the place of the package in its repository")
	}
	name := filepath.Base(words[1])
	if !rpmHeaders().MatchString(name) {
		return nil
	}
	if of := strings.Split(strings.TrimSuffix(name, ".rpm"), "."); of[len(of)-1] != m.Host.Machine {
		return nil
	}
	files := append(system.Glob(words[0], "*/packages/"+system.GlobQuote(name)), words[1])
	i := slices.IndexFunc(files, func(file string) bool { return filepath.IsAbs(file) && system.IsFile(file) })
	if i < 0 {
		m.Report.Warnf("%s is not in %s, so whether every module builds is not known before it is installed", name, words[0])
		return nil
	}
	c.headers = []string{files[i]}
	return nil
}

// readPortage reads what "emerge --pretend --fetchonly" prints, which are addresses
// of files, and finds the files in the directories of Portage that dirs names.
// Binary kernels are in packages of Gentoo's own format.
func (c *coming) readPortage(m *machine.Machine, in io.Reader, dirs []string) error {
	text, err := io.ReadAll(io.LimitReader(in, maxList))
	if err != nil {
		return err
	}
	for _, address := range strings.Fields(string(text)) {
		name := filepath.Base(address)
		if !gentooKernel().MatchString(name) || slices.ContainsFunc(c.headers, func(file string) bool { return filepath.Base(file) == name }) {
			continue
		}
		i := slices.IndexFunc(dirs, func(dir string) bool { return system.IsFile(filepath.Join(dir, name)) })
		if i < 0 {
			m.Report.Warnf("%s is not in %s, so whether every module builds is not known before it is installed", name, strings.Join(dirs, ", "))
			continue
		}
		c.headers = append(c.headers, filepath.Join(dirs[i], name))
	}
	return nil
}

// maxList bounds how many bytes of a list of files are read.
const maxList = 64 << 20

// sourcesOfPackage lists the directories with a dkms.conf that an installed
// package has, from the lists of files that dpkg and pacman keep.
func sourcesOfPackage(root system.Root, name string) (dirs []string) {
	lists := root.Glob("/var/lib/dpkg/info/" + system.GlobQuote(name) + "*.list")
	lists = slices.DeleteFunc(lists, func(file string) bool {
		of, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".list"), ":")
		return of != name
	})
	for _, dir := range root.Glob("/var/lib/pacman/local/" + system.GlobQuote(name) + "-*-*") {
		if strings.Count(strings.TrimPrefix(filepath.Base(dir), name+"-"), "-") == 1 { // NAME-VERSION-RELEASE
			lists = append(lists, filepath.Join(dir, "files"))
		}
	}
	for _, file := range lists {
		data, err := system.ReadRegular(file, maxList)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if path := strings.TrimSpace(line); filepath.Base(path) == "dkms.conf" {
				dirs = append(dirs, root.Path(filepath.Dir(path)))
			}
		}
	}
	return dirs
}
