package tree

import (
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Held tells whether a writer is at work now.
func (t *Tree) Held() bool { return system.Held(filepath.Join(t.dir, lockName)) }

// Failures lists the targets that a failure of a version is recorded for.
func (t *Tree) Failures(id ID) []Target {
	return targetsOf(filepath.Join(t.VersionDir(id), failurePrefix), noteSuffix)
}

// ActiveTargets lists the targets that the links of a package name, whether or
// not the version they lead to is still there.
func (t *Tree) ActiveTargets(name string) []Target {
	return targetsOf(filepath.Join(t.ModuleDir(name), "kernel-"), "")
}

// targetsOf reads RELEASE-ARCH between the prefix and the suffix of paths. No
// architecture has a dash in its name.
func targetsOf(prefix, suffix string) []Target {
	paths, _ := filepath.Glob(prefix + "*" + suffix)
	var list []Target
	for _, p := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(p, prefix), suffix)
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
