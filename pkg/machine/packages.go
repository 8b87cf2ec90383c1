package machine

import (
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

// HeadersCure is the next step if the headers of a kernel are missing, which is
// what err says.
func (m *Machine) HeadersCure(t tree.Target, err error) string {
	if pkg := m.Kernel(t).HeadersPackage(m.Distribution); pkg != "" && m.Installed(t) {
		return InstallCommand(m.Distribution, pkg)
	}
	return exit.Hint(err)
}

// InstallCommand is the command that installs a package of a distribution.
func InstallCommand(distribution, pkg string) string {
	for _, word := range strings.Fields(distribution) {
		switch word {
		case "debian", "ubuntu":
			return "apt-get install " + pkg
		case "fedora", "rhel", "centos":
			return "dnf install " + pkg
		case "suse", "opensuse", "sles":
			return "zypper install " + pkg
		case "arch":
			return "pacman -S " + pkg
		case "alpine":
			return "apk add " + pkg
		case "void":
			return "xbps-install " + pkg
		}
	}
	return "install the package " + pkg
}

// OwnerCommand is the command that tells which package of a distribution a file
// belongs to.
func OwnerCommand(distribution, file string) string {
	for _, word := range strings.Fields(distribution) {
		switch word {
		case "debian", "ubuntu":
			return "dpkg -S " + file
		case "fedora", "rhel", "centos", "suse", "opensuse", "sles":
			return "rpm -qf " + file
		case "arch":
			return "pacman -Qo " + file
		case "alpine":
			return "apk info --who-owns " + file
		case "void":
			return "xbps-query -o " + file
		case "gentoo":
			return "qfile " + file
		}
	}
	return ""
}
