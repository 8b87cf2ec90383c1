package build

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dkms/pkg/kernel"
	"dkms/pkg/system"
)

// Headers that would be installed below the kernel's directory appear there, on
// whichever side of a merged /usr the package has them; others appear where they
// would be, and the kernel's directory has a link to them.
func TestPlaceHeaders(t *testing.T) {
	for _, test := range []struct {
		headers string
		want    []string
		link    string
	}{
		{"lib/modules/6.9.8-fake/build", []string{"/lib/modules/6.9.8-fake", "/lib/modules/6.9.8-fake/build"}, ""},
		{"usr/lib/modules/6.9.8-fake/build", []string{"/lib/modules/6.9.8-fake", "/lib/modules/6.9.8-fake/build"}, ""},
		{"usr/src/linux-headers-6.9.8-fake", []string{"/lib/modules/6.9.8-fake", "/usr/src/linux-headers-6.9.8-fake"}, "/usr/src/linux-headers-6.9.8-fake"},
		{"usr/src/kernels/6.9.8-fake", []string{"/lib/modules/6.9.8-fake", "/usr/src/kernels/6.9.8-fake"}, "/usr/src/kernels/6.9.8-fake"},
	} {
		around := t.TempDir()
		put(t, filepath.Join(around, test.headers, "Makefile"), "")
		w := &work{
			Builder: &Builder{}, scratch: &scratch{private: t.TempDir()},
			Job: Job{Kernel: kernel.New(system.Root{}, "6.9.8-fake", "x86_64", kernel.Options{Headers: filepath.Join(around, test.headers), Around: around})},
		}
		if err := (aside{w}).placeHeaders("/lib/modules/6.9.8-fake"); err != nil {
			t.Fatal(err)
		}
		var at []string
		for _, m := range w.placed {
			at = append(at, m.At)
		}
		if !slices.Equal(at, test.want) {
			t.Errorf("headers in %s: placed at %q; want %q", test.headers, at, test.want)
		}
		if link, _ := os.Readlink(filepath.Join(w.scratch.private, "modules/build")); link != test.link {
			t.Errorf("headers in %s: the link is %q; want %q", test.headers, link, test.link)
		}
	}
}
