package machine

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// immutable is a kind of system whose /usr is read-only on purpose.
type immutable struct {
	is   func(m *Machine) bool
	what string
	// hint is what works there; KERNEL is the kernel, and EXTEND the command that
	// makes an extension of the system.
	hint string
}

// immutables are tried in this order.
var immutables = []immutable{
	{has("/usr/lib/bootc"), "a bootc system, whose /usr comes with its image", "in the Containerfile of the image: RUN dkms autoinstall -k KERNEL; on this machine: EXTEND"},
	{has("/run/ostree-booted"), "an ostree system, whose /usr belongs to a deployment", "EXTEND, or install packages that dkms export --format rpm makes: rpm-ostree install FILE"},
	{has("/usr/sbin/transactional-update"), "a system with transactional updates, whose /usr belongs to a snapshot", "transactional-update run dkms autoinstall -k KERNEL, and restart"},
	{named("steamos"), "SteamOS, whose /usr the next update replaces", "EXTEND (with steamos-readonly disable, modules are installed until the next update)"},
	{named("flatcar"), "Flatcar, whose /usr is an image", "EXTEND"},
	{named("ubuntu-core"), "Ubuntu Core, whose modules come with the snap of the kernel", "put the modules into the snap of the kernel: it takes them as a component"},
	{named("nixos"), "NixOS, whose modules come with its configuration", "name the module's package in boot.extraModulePackages"},
	{merged, "a system with extensions, which make /usr read-only", "systemd-sysext unmerge, then try again, then systemd-sysext merge; or EXTEND"},
}

func has(path string) func(*Machine) bool {
	return func(m *Machine) bool {
		_, err := os.Lstat(m.Host.Root.Path(path))
		return err == nil
	}
}

func named(id string) func(*Machine) bool {
	return func(m *Machine) bool { return conf.DistributionID(m.Host.Root) == id }
}

// merged tells whether systemd-sysext has merged an extension.
func merged(m *Machine) bool {
	list, _ := system.Match(m.Host.Root.Path("/usr/lib/extension-release.d"), "extension-release.", "")
	return len(list) > 0
}

// ReadOnly returns an error if a version can be neither installed nor taken out,
// because the kernel's directory is on a read-only file system. The error names the kind of
// system, and its hint what works there.
func ReadOnly(m *Machine, s Subject) error {
	dir := m.Kernel(s.Target).ModuleDir()
	if unix.Access(dir, unix.W_OK) != unix.EROFS {
		return nil
	}
	words := strings.NewReplacer("KERNEL", m.KernelArg(s.Target),
		"EXTEND", "dkms export --format sysext -k "+m.KernelArg(s.Target)+" --archive /var/lib/extensions && systemd-sysext refresh",
		"MOUNT", mountPoint(dir))
	for _, i := range immutables {
		if i.is(m) {
			return exit.Errorf(exit.InstallFailed, "%s: %s cannot be written: this is %s", s.ID, dir, i.what).WithHint("%s", words.Replace(i.hint))
		}
	}
	return exit.Errorf(exit.InstallFailed, "%s: %s cannot be written: its file system is mounted read-only", s.ID, dir).
		WithHint("%s", words.Replace("if that is on purpose: EXTEND; if not, dmesg says why, and mount -o remount,rw MOUNT makes it writable"))
}

// AsExtension tells whether a version becomes part of an extension of the system
// instead of files in the kernel's directory. It returns an error if it can be
// neither, see [ReadOnly].
func AsExtension(m *Machine, s Subject) (bool, error) {
	err := ReadOnly(m, s)
	if err == nil || m.Framework.InstallAs != "sysext" || m.Host.Image {
		return false, err
	}
	return true, nil
}

// mountPoint is the directory at which the file system of a directory is
// mounted, see statx(2).
func mountPoint(dir string) string {
	mount := func(dir string) (st unix.Statx_t, err error) {
		err = unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &st)
		return st, err
	}
	here, err := mount(dir)
	for err == nil && dir != "/" {
		above, err := mount(filepath.Dir(dir))
		if err != nil || above.Mnt_id != here.Mnt_id {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}
