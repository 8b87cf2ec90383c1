package inspect

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/install"
	"dkms/pkg/machine"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// sources looks for versions without sources.
func (d *doctor) sources(context.Context) {
	for _, v := range d.versions {
		if v.State == tree.Broken {
			err := d.Broken(v.ID)
			d.add("sources", exit.Hint(err), nil, "%v", err)
		}
	}
}

// journal looks for leftovers of an interrupted run. The next run that takes
// the lock cleans them up first.
func (d *doctor) journal(context.Context) {
	if d.writing() {
		return
	}
	recovered := &machine.Cure{Kind: machine.Recover}
	if install.Unfinished(d.Tree) {
		d.add("journal", "dkms doctor --fix", recovered, "a change of modules was interrupted and is not finished")
	}
	if d.Tree.Busy() {
		d.add("journal", "dkms doctor --fix", recovered, "the last run did not end well, and may have left something behind")
	}
	for _, t := range d.Tree.Pending() {
		d.add("journal", "depmod -a "+t.Kernel, recovered, "the modules of kernel %s have changed, and depmod was not run", t.Kernel)
	}
}

// writing reports whether another run is at work. Its files are not leftovers.
func (d *doctor) writing() bool { return d.Tree.Held() }

// leftovers are the files of a removed kernel.
type leftovers struct {
	what []string
	// failed are the versions with records of failed builds.
	failed []string
	// safe says that nobody can need the files any more.
	safe bool
}

// removedKernels looks for builds and records for removed kernels.
func (d *doctor) removedKernels(context.Context) {
	left := map[tree.Target]*leftovers{}
	at := func(t tree.Target) *leftovers {
		if left[t] == nil {
			left[t] = &leftovers{safe: true}
		}
		return left[t]
	}
	for _, v := range d.versions {
		for _, b := range v.Builds {
			r := at(b.Target)
			r.what = append(r.what, "builds of "+v.ID.String())
			// A build that was never installed may be meant for another
			// machine.
			r.safe = r.safe && (b.Installed || len(d.everInstalled(v.ID, b.Target)) > 0)
		}
		for _, t := range d.records(v.ID) {
			r := at(t)
			if id := v.ID.String(); !slices.Contains(r.failed, id) {
				r.failed = append(r.failed, id)
			}
		}
	}
	for _, r := range left {
		if len(r.failed) > 0 {
			r.what = append(r.what, "records of failed builds of "+strings.Join(r.failed, ", "))
		}
	}
	for _, link := range d.danglingLinks() {
		r := at(link.target)
		r.what = append(r.what, "the link "+d.Tree.ActiveLink(link.name, link.target))
	}
	for _, t := range slices.SortedFunc(maps.Keys(left), func(a, b tree.Target) int { return strings.Compare(a.String(), b.String()) }) {
		if d.hasKernel(t.Kernel) || t.Check() != nil || len(d.Choice.Kernels) > 0 && !slices.Contains(d.targets, t) {
			continue
		}
		var fix *machine.Cure
		if left[t].safe {
			fix = &machine.Cure{Kind: machine.ForgetKernel, Target: t}
		}
		d.add("leftovers", "dkms kernel_prerm -k "+d.KernelArg(t), fix,
			"kernel %s is not installed, and there are %s", t.Kernel, strings.Join(slices.Compact(left[t].what), ", "))
	}
}

func (d *doctor) everInstalled(id tree.ID, t tree.Target) []tree.Installed {
	made := d.facts.Module(machine.Subject{ID: id, Target: t}).Manifest
	if made == nil {
		return nil
	}
	return made.Installed
}

// records returns the targets for which failures of a version are recorded.
func (d *doctor) records(id tree.ID) []tree.Target {
	list := d.Tree.Failures(id)
	for _, a := range build.Attempts(d.Tree, id) {
		if a.Failed && a.Path != d.Tree.ScratchLog(id) {
			list = append(list, a.Target)
		}
	}
	return list
}

// link marks a version of a package as installed for a target.
type link struct {
	name   string
	target tree.Target
}

// danglingLinks returns the links that mark a missing version as installed, in
// the order of the tree.
func (d *doctor) danglingLinks() []link {
	var lost []link
	for _, p := range d.facts.Packages() {
		for _, t := range d.Tree.ActiveTargets(p.Name) {
			if !system.IsDir(d.Tree.ActiveLink(p.Name, t)) {
				lost = append(lost, link{p.Name, t})
			}
		}
	}
	return lost
}

// temporary looks for temporary files of interrupted runs. While another run is
// at work, such files belong to that run.
func (d *doctor) temporary(context.Context) {
	if d.writing() {
		return
	}
	root := d.Host.Root
	list := temporaryBelow(d.Tree.Dir())
	for _, t := range d.targets {
		list = append(list, install.Leftovers(d.Tree, t.Kernel)...)
	}
	for _, path := range append(list, system.Glob(root.SourceTree(), system.StagePrefix+"*")...) {
		d.add("temporary", "rm -r "+path, &machine.Cure{Kind: machine.Delete, Path: path}, "%s was left behind by an interrupted run", path)
	}
}

func temporaryBelow(dir string) []string {
	var list []string
	filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case strings.HasPrefix(entry.Name(), system.StagePrefix), strings.HasPrefix(entry.Name(), ".tmp_"):
			if path == dir {
				return nil
			}
			list = append(list, path)
			if entry.IsDir() {
				return fs.SkipDir
			}
		case entry.IsDir() && entry.Name() == "build" && strings.Count(strings.TrimPrefix(path, dir), "/") == 3:
			return fs.SkipDir // here modules are compiled, and any program may create such files
		}
		return nil
	})
	return list
}

// key checks who can read the private key.
func (d *doctor) key(ctx context.Context) {
	t := tree.Target{Kernel: d.Host.Release, Arch: d.Host.Machine}
	if d.Host.Image { // the key is that of the machine that will run it
		return
	}
	options, err := d.Signing(ctx, t.Kernel)
	if err != nil {
		d.add("key", "correct framework.conf", nil, "%v", err)
		return
	}
	pair, err := d.FindPair(ctx, t, options)
	if err != nil {
		d.add("key", exit.Hint(err), nil, "%v", err)
		return
	}
	st, err := os.Stat(pair.KeyPath)
	if err != nil || !st.Mode().IsRegular() || pair.KeyPath == pair.CertPath && d.Host.UID != 0 {
		return
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		d.add("key", "chmod 600 "+pair.KeyPath, &machine.Cure{Kind: machine.Protect, Path: pair.KeyPath},
			"%s is the signing key, and others than root have access to it (mode %o)", pair.KeyPath, mode)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && d.Host.UID == 0 && sys.Uid != 0 {
		d.add("key", "chown root: "+pair.KeyPath, nil, "%s is the signing key, and belongs to user %d", pair.KeyPath, sys.Uid)
	}
}

// enoughSpace is the space that a build of a larger package takes, in bytes.
const enoughSpace = 200 << 20

// space looks for file systems that the next build may fill.
func (d *doctor) space(context.Context) {
	root := d.Host.Root
	d.tight(enoughSpace, root.StateTree(), root.InstallTree(), d.Framework.TmpLocation, root.Path("/tmp"))
}

// tight looks for file systems with less free space than enough.
func (d *doctor) tight(enough uint64, dirs ...string) {
	seen := map[unix.Fsid]bool{}
	for _, dir := range dirs {
		free, id, err := freeSpace(dir)
		if err != nil || seen[id] {
			continue
		}
		seen[id] = true
		if free < enough {
			d.add("space", "du -xh "+dir+" | sort -h shows what takes it", nil, "there are only %d MB left at %s", free>>20, dir)
		}
	}
}

// freeSpace returns how much root can still write at dir, or where dir would
// be.
func freeSpace(dir string) (uint64, unix.Fsid, error) {
	for !system.IsDir(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return st.Bavail * uint64(st.Bsize), st.Fsid, err
}
