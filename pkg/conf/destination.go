package conf

import (
	"slices"
	"strings"
)

// Destination returns where the record is installed, below the kernel's
// directory in the install tree. distribution is a result of [Distribution],
// addon is ADDON_MODULES_DIR.
func (r Record) Destination(distribution, addon string) string {
	is := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(distribution, p) })
	}
	switch {
	case addon != "":
		return "/" + addon
	case is("fedora", "centos", "rhel"):
		return "/extra"
	case is("sles", "suse", "opensuse"):
		return "/updates"
	case is("debian", "ubuntu", "arch"):
		return "/updates/dkms"
	default:
		return r.DestLocation
	}
}
