package conf

import "slices"

// DirectiveNames are the directives that a dkms.conf can set.
func DirectiveNames() []string {
	return slices.DeleteFunc(slices.Clone(moduleNames), func(name string) bool { return name == "strip" })
}
