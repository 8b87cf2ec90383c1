package conf

import (
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Distribution returns the distribution that is installed below root: "ubuntu"
// for Ubuntu itself; otherwise ID_LIKE where os-release sets it, which may hold
// several words or none; otherwise ID. Callers compare prefixes. The function
// parses the file as os-release(5) describes; no shell reads the file.
func Distribution(root system.Root) (string, error) {
	values := readOSRelease(root)
	if values == nil {
		return "", noOSRelease()
	}
	like, defined := values["ID_LIKE"]
	if id := values["ID"]; id == "ubuntu" || !defined {
		return id, nil
	}
	return like, nil
}

// DistributionID returns the ID of the distribution itself. Callers use it for
// things that only the distribution's own tools can do.
func DistributionID(root system.Root) string { return readOSRelease(root)["ID"] }

// OSRelease returns the values of the system's os-release(5); there are none
// without the file.
func OSRelease(root system.Root) map[string]string { return readOSRelease(root) }

func readOSRelease(root system.Root) map[string]string {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if text, err := readText(resolve(root, path)); err == nil {
			return osRelease(string(text))
		}
	}
	return nil
}

// resolve follows a link at path below root and resolves absolute targets below
// root, too. It follows one link only: os-release never needs more in a row.
func resolve(root system.Root, path string) string {
	file := root.Path(path)
	if target, err := os.Readlink(file); err == nil && filepath.IsAbs(target) {
		return root.Path(target)
	}
	return file
}

func osRelease(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && isName(name) {
			values[name] = unquote(value)
		}
	}
	return values
}

// unquote returns the first word of s by the shell's rules, without expansions.
func unquote(s string) string {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t' || c == ';'):
			return b.String()
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s) && (quote == 0 || strings.IndexByte("$`\"\\", s[i+1]) >= 0):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
