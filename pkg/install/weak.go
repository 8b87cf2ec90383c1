package install

import (
	"context"
	"strings"

	"dkms/pkg/system"
)

// Weak tells the distribution's weak-modules program of files that were
// installed for a kernel, or are about to go: it links them into the
// directories of kernels with the same symbol versions. Only RHEL and SUSE
// have such a program, and only on their own kernels does it mean anything.
func (in *Installer) Weak(ctx context.Context, root system.Root, release string, files []string, add bool) {
	argv := weakCommand(in.Distribution, release, add)
	if argv == nil || len(files) == 0 || !system.IsExecutable(root.Path(argv[0])) {
		return
	}
	argv[0] = root.Path(argv[0])
	err := in.Run.Run(ctx, system.Cmd{Argv: argv, Stdin: strings.NewReader(strings.Join(files, "\n") + "\n")})
	if err != nil {
		in.Report.Warnf("kernel %s: links for other kernels may be wrong: %v", release, err)
	}
}

// weakCommand is the program of a distribution and its arguments, or nil.
func weakCommand(distribution, release string, add bool) []string {
	for _, word := range strings.Fields(distribution) {
		switch {
		case strings.HasPrefix(word, "rhel"):
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
