package run

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/archive"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// coming is what apt is about to do, as far as it concerns modules.
type coming struct {
	// headers and modules are package files.
	headers, modules []string
	// leaving are the packages with modules whose present files go.
	leaving []string
	// images are the releases of kernel images.
	images []string
}

var (
	headersPackage = system.Pattern(`^linux-(.+-)?(headers|kbuild)-`)
	imagePackage   = system.Pattern(`^linux-image-(unsigned-)?([0-9].*)$`)
)

// readComing reads the description of a transaction that apt gives to
// DPkg::Pre-Install-Pkgs (apt.conf(5)), in version 1, 2 or 3: the paths of the
// package files, or lines NAME ... ACTION after a head that ends with an empty
// line, where ACTION is a path, **CONFIGURE** or **REMOVE**.
func readComing(in io.Reader, machine string) (coming, error) {
	var c coming
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
		c.add(fields[0], fields[len(fields)-1], machine)
	}
	return c, lines.Err()
}

// add notes one package; a line of version 1 is its path alone.
func (c *coming) add(name, action, machine string) {
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
	image := imagePackage().FindStringSubmatch(name)
	switch {
	case strings.Contains(name, "dkms") && name != "dkms":
		c.leaving = append(c.leaving, name)
		if !removed {
			c.modules = append(c.modules, action)
		}
	case removed:
	case headersPackage().MatchString(name):
		c.headers = append(c.headers, action)
	case image != nil && !strings.HasSuffix(image[2], "-dbg"):
		c.images = append(c.images, image[2])
	}
}

// Guard rehearses every module for the kernels whose headers apt is about to
// install, from the package files and without changing anything, and says which
// of them will not build. The status is 11 if one will not, and upgrade_guard asks
// to refuse the transaction then; otherwise it is 0. Trouble of the guard itself
// never refuses anything.
func Guard(ctx context.Context, m *machine.Machine, in io.Reader) (exit.Code, error) {
	c, err := readComing(in, m.Host.Machine)
	if err != nil || m.Framework.UpgradeGuard == "off" || len(c.headers)+len(c.images) == 0 || switchedOff(m) {
		return exit.OK, err
	}
	_, sources, err := candidates(ctx, m, Rehearsing{}, Options{})
	if err != nil || len(sources)+len(c.modules) == 0 {
		return exit.OK, err
	}
	dir, err := os.MkdirTemp(m.Framework.TmpLocation, "dkms-guard.")
	if err != nil {
		return exit.OK, err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		return exit.OK, err
	}
	limit := m.Framework.UpgradeGuardTime
	m.Report.Progressf("rehearsing the modules for the kernels that are about to be installed, for at most %s", report.About(limit))
	within, stop := context.WithTimeout(ctx, limit)
	defer stop()
	g := &guard{Machine: m, coming: c, dir: dir, sources: sources}
	bad, err := g.run(within)
	switch {
	case ctx.Err() != nil:
		return exit.OK, context.Cause(ctx)
	case within.Err() != nil:
		m.Report.Warnf("the rehearsal took longer than %s (upgrade_guard_time); whether every module builds is known when the kernel is installed", report.About(limit))
	case err != nil:
		m.Report.Warnf("whether every module builds for the new kernel is not known before it is installed: %v", err)
	}
	if !bad {
		return exit.OK, nil
	}
	if m.Framework.UpgradeGuard == "refuse" {
		m.Report.Error(exit.Errorf(exit.SomeFailed, "nothing is installed: upgrade_guard=refuse in framework.conf").
			WithHint("upgrade_guard=warn in framework.conf goes on all the same"))
		return exit.SomeFailed, nil
	}
	m.Report.Warnf("do not boot the new kernel if you need them; upgrade_guard=refuse in framework.conf would stop here")
	return exit.OK, nil
}

// guard is the rehearsal before a transaction.
type guard struct {
	*machine.Machine
	coming
	dir     string
	sources []brought
}

// run tells whether a module will not build for one of the kernels.
func (g *guard) run(ctx context.Context) (bad bool, err error) {
	if err := g.afterwards(ctx); err != nil {
		return false, err
	}
	aside := filepath.Join(g.dir, "headers")
	found := map[string]string{}
	if len(g.headers) > 0 {
		u := &unpacked{Machine: g.Machine, dir: aside, files: g.headers}
		if err := u.unpack(ctx); err != nil {
			return false, err
		}
		found = kernel.HeadersBelow(aside)
	}
	for _, release := range slices.SortedFunc(maps.Keys(found), version.Natural) {
		on := g.WithHeaders(found[release], aside)
		on.Report = report.New(io.Discard) // what is to be said fits into one block
		r, err := rehearse(ctx, on, tree.Target{Kernel: release, Arch: g.Host.Machine}, "", g.sources, g.dir, Options{})
		if err != nil {
			return bad, err
		}
		bad = g.tell(&r) || bad
	}
	for _, release := range g.images {
		if found[release] == "" && !g.Kernel(tree.Target{Kernel: release, Arch: g.Host.Machine}).HasHeaders() {
			g.Report.Warnf("kernel %s comes without its headers, so no module can be built for it; install linux-headers-%s with it", release, release)
			bad = true
		}
	}
	return bad, nil
}

// tell prints the result for a kernel in one block.
func (g *guard) tell(r *Rehearsal) (bad bool) {
	var failed []Rehearsed
	all := 0
	for _, mod := range r.Modules {
		switch machine.State(mod.State) {
		case machine.Unwanted, machine.Excluded:
			continue
		case machine.Failed, machine.BrokenSource:
			failed = append(failed, mod)
		}
		all++
	}
	if len(failed) == 0 {
		if all > 0 {
			g.Report.Progressf("every module builds for %s", r.Kernel)
		}
		return false
	}
	lines := []string{fmt.Sprintf("%d of %d modules will not build for %s:", len(failed), all, r.Kernel)}
	for _, mod := range failed {
		id := tree.ID{Name: mod.Module, Version: mod.Version}
		lines = append(lines, "  "+id.String()+": "+g.Brief(machine.Subject{ID: id, Target: tree.Target{Kernel: r.Kernel, Arch: r.Arch}}, mod.Reason))
	}
	lines = append(lines, "the whole log: dkms rehearse "+failed[0].Module+" --headers "+g.fileFor(r.Kernel))
	g.Report.Warnf("%s", strings.Join(lines, "\n"))
	return true
}

// fileFor is the package file with the headers of a kernel.
func (g *guard) fileFor(release string) string {
	for _, file := range g.headers {
		if strings.Contains(filepath.Base(file), release) {
			return file
		}
	}
	return g.headers[0]
}

// afterwards makes the sources those that there will be after the transaction:
// without those of packages that go or are replaced, and with those of packages
// that come.
func (g *guard) afterwards(ctx context.Context) error {
	gone := map[string]bool{}
	for _, name := range g.leaving {
		for _, dir := range sourcesOfPackage(g.Host.Root, name) {
			gone[dir] = true
		}
	}
	g.sources = slices.DeleteFunc(g.sources, func(b brought) bool { return gone[b.sources] || gone[g.Tree.Sources(b.ID)] })
	if len(g.modules) == 0 {
		return nil
	}
	aside := filepath.Join(g.dir, "modules")
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, file := range g.modules {
		errs = append(errs, archive.UnpackPackage(ctx, g.Machine.Run, file, aside))
	}
	v := &verb{g.Machine, nil, "rehearse", machine.Choice{}, Options{}}
	for _, file := range system.Glob(aside, "usr/src/*/dkms.conf") {
		id, err := v.identify(ctx, filepath.Dir(file))
		if errs = append(errs, err); err != nil {
			continue
		}
		g.sources = slices.DeleteFunc(g.sources, func(b brought) bool { return b.ID == id })
		g.sources = append(g.sources, brought{ID: id, sources: filepath.Dir(file)})
	}
	return errors.Join(errs...)
}

// maxList bounds how many bytes of a list of files are read.
const maxList = 64 << 20

// sourcesOfPackage lists the directories with a dkms.conf that an installed
// package of Debian has, from dpkg's list of its files.
func sourcesOfPackage(root system.Root, name string) (dirs []string) {
	for _, file := range root.Glob("/var/lib/dpkg/info/" + system.GlobQuote(name) + "*.list") {
		if of, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".list"), ":"); of != name {
			continue
		}
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
