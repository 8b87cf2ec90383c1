package install

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dkms/pkg/system"
)

// What is swept is what this program stages, and nothing that looks like it.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var ours []string
	for _, name := range []string{"foo.ko", "foo.ko.xz", "odd.name.ko.zst"} {
		path := h.in("updates/dkms/" + name)
		h.mkdir(filepath.Dir(path))
		staged := freeName(path)
		h.write(staged, "x")
		other, err := system.StageBytes(path, nil, 0o644)
		h.must(err)
		ours = append(ours, staged, other)
	}
	link := freeName(h.in("updates/dkms/link.ko"))
	h.must(os.Symlink("/nowhere", link))
	ours = append(ours, link)
	theirs := []string{
		"build/.tmp_versions/foo.mod", "build/drivers/.tmp_foo.o", "kernel/.tmp_foo.ko", "updates/.dkms-notes", "updates/.dkms-",
		"updates/dkms/.dkms-foo.txt.1234", "updates/dkms/.dkms-foo.ko.bak", "updates/dkms/.dkms-foo.ko.", "updates/dkms/foo.ko.12345678",
		"updates/dkms/.dkms-foo.ko.1/inside",
	}
	for _, name := range theirs {
		h.write(h.in(name), "x")
	}
	got := Leftovers(h.Tree.Tree, "6.1")
	slices.Sort(got)
	slices.Sort(ours)
	if !slices.Equal(got, ours) {
		t.Errorf("Leftovers = %q; want %q", got, ours)
	}
	if swept := h.Sweep("6.1"); len(swept) != len(ours) {
		t.Errorf("Sweep = %q; want %d files", swept, len(ours))
	}
	for _, name := range theirs {
		if !exists(h.in(name)) {
			t.Errorf("%s is gone", name)
		}
	}
}
