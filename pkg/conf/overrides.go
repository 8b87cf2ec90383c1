package conf

import (
	"bytes"
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

// Mentions returns the last of some configuration files whose text has a word,
// or "". It tells cheaply that a directive is not set.
func Mentions(word string, files ...string) (last string) {
	for _, file := range files {
		if text, err := readText(file); err == nil && bytes.Contains(text, []byte(word)) {
			last = file
		}
	}
	return last
}
