package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// Driverless lists the modaliases of the devices without a driver
// (/sys/bus/BUS/devices/DEVICE/modalias without a driver link beside it).
func Driverless(root system.Root) []string {
	var list []string
	for _, d := range root.Glob("/sys/bus/*/devices/*") {
		if _, err := os.Lstat(filepath.Join(d, "driver")); err == nil {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(d, "modalias")); err == nil {
			list = append(list, strings.TrimSpace(string(data)))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Claims reports whether one of a module's aliases, which are shell patterns,
// matches one of the modaliases. A slash is a character like any other.
func Claims(aliases, modaliases []string) bool {
	plain := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	for _, a := range aliases {
		for _, m := range modaliases {
			if ok, err := filepath.Match(plain(a), plain(m)); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// AtBoot lists the modules that modules-load.d(5) names. A file in an earlier
// directory hides one of the same name in a later one.
func AtBoot(root system.Root) []string {
	seen := map[string]bool{}
	var names []string
	for _, dir := range []string{"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"} {
		for _, f := range root.Glob(dir + "/modules-load.d/*.conf") {
			if seen[filepath.Base(f)] {
				continue
			}
			seen[filepath.Base(f)] = true
			data, _ := os.ReadFile(f)
			for line := range strings.Lines(string(data)) {
				line = strings.TrimSpace(line)
				if line != "" && line[0] != '#' && line[0] != ';' {
					names = append(names, line)
				}
			}
		}
	}
	return names
}
