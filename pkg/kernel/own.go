package kernel

import (
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// number and abi match the releases of Debian's and Ubuntu's kernels before the
// flavour: 6.1.0-56, 6.12.95+deb13, 6.1.0-0.deb11.13, 6.12.9+bpo, 6.10-rc2. What
// abi matches is missing in 6.7.12-amd64.
const number, abi = `^[0-9]+(\.[0-9]+)+`, `([-+~](rc)?[0-9]+|[-+~.](0\.)?(deb[0-9]+(u[0-9]+)?|bpo)(\.[0-9]+)*|-trunk)`

var (
	debianRelease = system.Pattern(number + abi + `*$`)
	otherFlavour  = system.Pattern(number + abi + `+-[a-z0-9]+(-[a-z0-9]+)*$`)
)

// flavour returns the flavour of a kernel of Debian or Ubuntu, by its release,
// or "" for other kernels.
func (k *Kernel) flavour(distribution string) string {
	for _, word := range strings.Fields(distribution) {
		for _, f := range flavours[word] {
			if base, ok := strings.CutSuffix(k.Release, "-"+f); ok && debianRelease().MatchString(base) {
				return f
			}
		}
	}
	return ""
}

// ownHint returns where the headers are of a kernel that somebody has built, on
// a distribution with dpkg, or "". Such a kernel is on no server: either it was
// packaged by the makefile of the kernel ("make bindeb-pkg"), or installed
// without a package ("make install").
func (k *Kernel) ownHint(distribution string) string {
	database := k.root.Path("/var/lib/dpkg/info")
	words := strings.Fields(distribution)
	if !slices.Contains(words, "debian") && !slices.Contains(words, "ubuntu") || k.vendor() != nil ||
		k.flavour(distribution) != "" || otherFlavour().MatchString(k.Release) || !system.IsDir(database) || !system.IsDir(k.ModuleDir()) {
		return ""
	}
	for _, image := range []string{"linux-image-", "linux-image-unsigned-", "linux-modules-"} {
		if system.IsFile(filepath.Join(database, image+k.Release+".list")) {
			return "install linux-headers-" + k.Release + " from where " + image + k.Release + " came from (make bindeb-pkg leaves both above the sources)"
		}
	}
	return "link the directory that this kernel was built in as " + filepath.Join(k.ModuleDir(), "build") + " (no package has this kernel)"
}
