package conf

import (
	"path/filepath"

	"dkms/pkg/system"
)

// OverrideFiles lists the files in the directory etc, /etc/dkms, that are read
// after the dkms.conf of a module version for a kernel, general ones first.
func OverrideFiles(etc, name, version, release, arch string) []string {
	var list []string
	for _, base := range overrideNames(name, version, release, arch) {
		path := filepath.Join(etc, base+".conf")
		if filepath.Dir(path) == filepath.Clean(etc) && system.IsFile(path) {
			list = append(list, path)
		}
	}
	return list
}
