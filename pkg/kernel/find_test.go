package kernel

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReleaseOf(t *testing.T) {
	const utsrelease, plain = "include/generated/utsrelease.h", "include/config/kernel.release"
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"neither", nil, ""},
		{"plain", map[string]string{plain: "6.9.1\n"}, "6.9.1"},
		{"as Debian has it", map[string]string{plain: "6.1.192\n", utsrelease: "#define UTS_RELEASE \"6.1.0-56-amd64\"\n"}, "6.1.0-56-amd64"},
		{"the other is something else", map[string]string{plain: "6.9.1\n", utsrelease: "/* nothing */\n"}, "6.9.1"},
		{"not a name", map[string]string{utsrelease: "#define UTS_RELEASE \"../x\"\n"}, ""},
		{"empty", map[string]string{plain: "\n"}, ""},
	} {
		dir := t.TempDir()
		for name, text := range test.files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := ReleaseOf(dir); got != test.want {
			t.Errorf("%s: ReleaseOf = %q; want %q", test.name, got, test.want)
		}
	}
}

// TestReleaseOfInstalled asks every kernel that there are headers of here.
func TestReleaseOfInstalled(t *testing.T) {
	dirs, _ := filepath.Glob("/lib/modules/*/build")
	for _, dir := range dirs {
		if got, want := ReleaseOf(dir), filepath.Base(filepath.Dir(dir)); whole(dir) && got != want {
			t.Errorf("ReleaseOf(%s) = %q; want %q", dir, got, want)
		}
	}
}

// whole tells headers that are wholly there.
func whole(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "include/generated/utsrelease.h"))
	return err == nil
}
