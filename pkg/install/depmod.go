package install

import (
	"context"
	"os"
	"path/filepath"

	"dkms/pkg/exit"
	"dkms/pkg/index"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Depmod updates the module indexes of a kernel, without the depmod program
// where it is proven that the program would write the same. A kernel without
// modules.dep is not completely installed, or already removed: its package runs
// depmod itself.
func (in *Installer) Depmod(ctx context.Context, k *kernel.Kernel) error {
	dep := filepath.Join(k.ModuleDir(), "modules.dep")
	if !system.IsFile(dep) {
		in.Report.Detailf("kernel %s has no modules.dep: depmod is left to its package", k.Release)
		return nil
	}
	base, ok := k.DepmodBase()
	if !ok {
		in.Report.Warnf("kernel %s: depmod can only work on a directory named lib/modules; run it on %s yourself", k.Release, k.ModuleDir())
		return nil
	}
	if in.updateIndex(ctx, k) {
		return nil
	}
	argv := []string{"depmod", "-a", k.Release}
	if base != "" {
		argv = append(argv, "-b", base)
	}
	if m := k.SystemMap(); m != "" {
		argv = append(argv, "-F", m)
	}
	if err := in.Run.Run(ctx, system.Cmd{Argv: argv}); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return exit.Errorf(exit.InstallFailed, "kernel %s: the modules are in place, but their index is not: %w", k.Release, err).
			WithHint("run: depmod -a %s", k.Release)
	}
	if err := syncIndex(k.ModuleDir()); err != nil {
		return err
	}
	return cleanEmptyIndex(k.ModuleDir())
}

// depmodConfig are the directories of depmod's configuration. depmod reads the
// configuration of the system that it runs on, whatever directory it works for.
var depmodConfig = []string{"/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/lib/depmod.d"}

// ReadIndex returns what starts to read the module index of a kernel in the
// background. The next Depmod for that kernel then takes less time.
func (in *Installer) ReadIndex(ctx context.Context, k *kernel.Kernel) (start func()) {
	if in.DepmodProgram {
		return func() {}
	}
	ahead := in.index(ctx, k).Ahead()
	in.ahead = map[string]*index.Ahead{k.Release: ahead}
	return ahead.Start
}

func (in *Installer) index(ctx context.Context, k *kernel.Kernel) *index.Tree {
	return &index.Tree{
		Dir: k.ModuleDir(), Config: depmodConfig, Symvers: filepath.Join(k.ModuleDir(), "build", "Module.symvers"),
		Depmod:  func() (index.Depmod, error) { return index.ProbeDepmod(ctx, in.Run) },
		Program: func() string { return in.Run.Identify("depmod") },
		Read:    in.ahead[k.Release], Note: in.Tree.IndexNote(tree.Target{Kernel: k.Release, Arch: k.Arch}),
	}
}

// updateIndex updates the indexes of a kernel without the depmod program, and
// tells whether that was possible.
func (in *Installer) updateIndex(ctx context.Context, k *kernel.Kernel) bool {
	if in.DepmodProgram {
		return false
	}
	res, err := in.index(ctx, k).Update()
	delete(in.ahead, k.Release)
	switch {
	case err == nil:
		in.Report.Detailf("kernel %s: the module index is brought up to date: %d of %d modules are new or changed, %d are gone",
			k.Release, res.Changed, res.Modules, res.Removed)
	case index.IsNotProven(err):
		in.Report.Detailf("kernel %s: depmod makes the module index: %v", k.Release, err)
	case ctx.Err() == nil:
		in.Report.Warnf("kernel %s: the module index could not be updated, and depmod makes it anew: %v", k.Release, err)
	}
	return err == nil
}

// syncIndex makes the files that depmod wrote durable: depmod does not sync
// them, and a power cut would leave empty files.
func syncIndex(dir string) error {
	files, err := system.Match(dir, "modules.", "")
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	return system.SyncDir(dir)
}

// cleanEmptyIndex deletes the indexes of a kernel whose last module is gone,
// and its directory if that is then empty.
func cleanEmptyIndex(dir string) error {
	st, err := os.Stat(filepath.Join(dir, "modules.dep"))
	if err != nil || st.Size() > 0 {
		return nil
	}
	for _, name := range []string{"alias", "dep", "devname", "softdep", "symbols", "weakdep"} {
		os.Remove(filepath.Join(dir, "modules."+name))
	}
	bins, err := system.Match(dir, "modules.", ".bin")
	if err != nil {
		return err
	}
	for _, name := range bins {
		os.Remove(filepath.Join(dir, name))
	}
	os.Remove(dir) // fails, as intended, if the directory is not empty
	return nil
}
