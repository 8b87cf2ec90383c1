package tree

import (
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Held tells whether there is a writer now.
func (t *Tree) Held() bool { return system.Held(filepath.Join(t.dir, lockName)) }

// Failures lists the targets for which a failure of a version is recorded.
func (t *Tree) Failures(id ID) []Target {
	return targetsOf(t.VersionDir(id), failurePrefix, noteSuffix)
}

// ActiveTargets lists the targets of the links of a package, whether or not the
// version that a link names still exists.
func (t *Tree) ActiveTargets(name string) []Target {
	return targetsOf(t.ModuleDir(name), "kernel-", "")
}

// targetsOf parses RELEASE-ARCH between the prefix and the suffix of the names
// in a directory. No architecture has a dash in its name.
func targetsOf(dir, prefix, suffix string) []Target {
	names, _ := system.Match(dir, prefix, suffix)
	var list []Target
	for _, name := range names {
		name = strings.TrimSuffix(strings.TrimPrefix(name, prefix), suffix)
		i := strings.LastIndexByte(name, '-')
		if i < 0 {
			continue
		}
		if k := (Target{name[:i], name[i+1:]}); k.Check() == nil {
			list = append(list, k)
		}
	}
	return list
}
