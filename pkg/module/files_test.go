package module

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestFiles: the module files come in the order of a walk, and nothing else does.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"z.ko", "a/b.ko.xz", "a-b/c.ko", "a/x/y/deep.ko.zst", "a/x.ko.gz", "a/modules.dep", "a/.ko", "a/b.ko.bak", ".h/hidden.ko", "é/ü.ko",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"link.ko": "z.ko", "linked": "a"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if _, _, ok := ParseSuffix(path); err == nil && ok && d.Type().IsRegular() {
			want = append(want, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := Files(dir); len(want) != 7 || !slices.Equal(got, want) {
		t.Errorf("Files() = %q; want %q", got, want)
	}
	if got := Files(filepath.Join(dir, "nothing")); len(got) != 0 {
		t.Errorf("Files() of a directory that does not exist = %q", got)
	}
}
