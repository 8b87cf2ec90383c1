package install

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/system"
)

// Weak reports files that were installed for a kernel, or are about to be
// deleted, to the distribution's weak-modules program, which links them into
// the directories of kernels with the same symbol versions. Only RHEL and SUSE
// have such a program, and it has an effect only for their own kernels. Weak
// checks the links afterwards: it deletes a link to a module whose symbol
// versions differ from those of the kernel with the link. It returns the
// releases of such kernels, whose module index is out of date.
func (in *Installer) Weak(ctx context.Context, release string, files []string, add bool) (mended []string) {
	root := in.Tree.Root()
	argv := weakCommand(in.Distribution+" "+in.ID, release, add)
	if argv == nil || len(files) == 0 || !system.IsExecutable(root.Path(argv[0])) {
		return nil
	}
	argv[0] = root.Path(argv[0])
	err := in.Run.Run(ctx, system.Cmd{Argv: argv, Stdin: strings.NewReader(strings.Join(files, "\n") + "\n")})
	if err != nil {
		in.Report.Warnf("kernel %s: links for other kernels may be wrong: %v", release, err)
	}
	if !add {
		return nil
	}
	return in.checkWeak(root, files)
}

// weakCommand is the weak-modules program of a distribution and its arguments,
// or nil.
func weakCommand(distribution, release string, add bool) []string {
	for _, word := range strings.Fields(distribution) {
		switch {
		case strings.HasPrefix(word, "rhel"), word == "ol":
			if add {
				return []string{"/usr/sbin/weak-modules", "--no-initramfs", "--add-modules"}
			}
			return []string{"/usr/sbin/weak-modules", "--no-initramfs", "--remove-modules"}
		case strings.HasPrefix(word, "sles"), strings.HasPrefix(word, "suse"), strings.HasPrefix(word, "opensuse"):
			if add {
				return []string{"/usr/lib/module-init-tools/weak-modules2", "--add-kernel-modules", release}
			}
			return []string{"/usr/lib/module-init-tools/weak-modules2", "--remove-kernel-modules", release}
		}
	}
	return nil
}

// checkWeak deletes weak links to the files that do not fit the kernel with the
// link.
func (in *Installer) checkWeak(root system.Root, files []string) (mended []string) {
	found := weakLinks(root, files)
	for _, link := range slices.Sorted(maps.Keys(found)) {
		file := found[link]
		rel, err := filepath.Rel(root.InstallTree(), link)
		if err != nil {
			continue
		}
		release, _, _ := strings.Cut(rel, "/")
		why := misfit(root, release, file)
		if why == "" {
			continue
		}
		if err := os.Remove(link); err != nil {
			in.Report.Warnf("%v", err)
			continue
		}
		in.Report.Warnf("kernel %s: the link to %s is taken away: %s", release, file, why)
		mended = append(mended, release)
	}
	slices.Sort(mended)
	return slices.Compact(mended)
}

// weakLinks finds the links of all kernels to the files.
func weakLinks(root system.Root, files []string) map[string]string {
	found := map[string]string{}
	kernels, _ := system.Match(root.InstallTree(), "", "")
	for _, release := range kernels {
		filepath.WalkDir(filepath.Join(root.InstallTree(), release, "weak-updates"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink == 0 {
				return nil
			}
			target, err := filepath.EvalSymlinks(path)
			if err == nil && slices.Contains(files, target) {
				found[path] = target
			}
			return nil
		})
	}
	return found
}

// misfit returns why a kernel that a module was not built for cannot load it.
// If the symbol versions of the kernel are not known, the module fits, because
// the kernel's own tools say so.
func misfit(root system.Root, release, file string) string {
	known := kernel.SymbolVersions(root, release)
	if known == nil {
		return ""
	}
	info, err := module.Read(file)
	if err != nil {
		return err.Error()
	}
	return kernel.Misfit(info, release, known)
}
