package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/pkg/version"
)

// Installed lists the kernel releases that have a module directory with a build
// or source link, oldest first. The link alone is enough, even a dangling one,
// because it shows that somebody wants modules built there.
func Installed(root system.Root) []string {
	dirs, _ := os.ReadDir(root.InstallTree())
	var list []string
	for _, d := range dirs {
		if !system.PlainName(d.Name()) {
			continue
		}
		for _, link := range []string{"build", "source"} {
			if _, err := os.Lstat(filepath.Join(root.InstallTree(), d.Name(), link)); err == nil {
				list = append(list, d.Name())
				break
			}
		}
	}
	slices.SortFunc(list, version.Natural)
	return list
}

// Select chooses the kernels when the caller named none: the running one if it
// has a module directory here; otherwise, as in a chroot, container or image,
// where the running kernel belongs to another system, every installed one that has headers. why is a sentence for the reader, empty
// in the ordinary case.
func Select(h system.Host) (releases []string, why string, err error) {
	if h.Release != "" && system.IsDir(filepath.Join(h.Root.InstallTree(), h.Release)) {
		return []string{h.Release}, "", nil
	}
	for _, r := range Installed(h.Root) {
		if New(h.Root, r, h.Machine, Options{}).HasHeaders() {
			releases = append(releases, r)
		}
	}
	switch {
	case h.Image && len(releases) == 0:
		return nil, "", exit.Errorf(exit.NoHeaders, "no kernel in %s of the system has headers", h.Root.InstallTree()).
			WithHint("install the headers of a kernel there, or name a kernel with -k")
	case h.Image:
		return releases, "", nil
	case len(releases) == 0:
		return nil, "", exit.Errorf(exit.NoHeaders, "the running kernel %s has no directory in %s, and no kernel there has headers",
			h.Release, h.Root.InstallTree()).WithHint("name a kernel with -k, or install the headers of one")
	}
	why = fmt.Sprintf("the running kernel %s is not installed here; taking every installed kernel with headers: %s",
		h.Release, strings.Join(releases, ", "))
	return releases, why, nil
}

// maxWord bounds files of a few words, in bytes.
const maxWord = 64 << 10

// ReleaseOf returns the kernel release of a directory of headers, or "". The
// release that modules are compiled with comes first, because Debian has
// another name in the second file.
func ReleaseOf(headers string) string {
	release := ""
	if data, err := system.ReadRegular(filepath.Join(headers, "include/generated/utsrelease.h"), maxWord); err == nil {
		_, rest, _ := strings.Cut(string(data), "#define UTS_RELEASE \"")
		release, _, _ = strings.Cut(rest, "\"")
	}
	if release == "" {
		data, _ := system.ReadRegular(filepath.Join(headers, "include/config/kernel.release"), maxWord)
		release = strings.TrimSpace(string(data))
	}
	if !system.PlainName(release) {
		return ""
	}
	return release
}

// HeadersBelow finds the directories of headers in dir, into which packages of
// headers were unpacked, by the release of their kernel.
func HeadersBelow(dir string) map[string]string {
	found := map[string]string{}
	for _, place := range []string{"lib/modules/*/build", "usr/lib/modules/*/build", "usr/src/*", "usr/src/kernels/*", "usr/src/*/*/*"} {
		for _, headers := range system.Glob(dir, place) {
			headers, err := filepath.EvalSymlinks(headers)
			if err != nil || !system.IsDir(filepath.Join(headers, "include")) {
				continue
			}
			if release := ReleaseOf(headers); release != "" && found[release] == "" {
				found[release] = headers
			}
		}
	}
	return found
}
