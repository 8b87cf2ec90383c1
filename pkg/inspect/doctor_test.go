package inspect

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMissingPrograms(t *testing.T) {
	for have, want := range map[string]string{
		"bash make gcc patch strip depmod":   "",
		"bash make clang patch strip depmod": "",
		"bash make cc patch strip depmod":    "",
		"bash make patch strip":              "gcc kmod",
		"":                                   "bash make gcc patch binutils kmod",
	} {
		var got []string
		for _, n := range missingPrograms(func(p string) bool { return slices.Contains(strings.Fields(have), p) }) {
			got = append(got, n.pkg)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("with %q, %q are missing; want %q", have, got, want)
		}
	}
}

func TestCompilerPackage(t *testing.T) {
	for cc, want := range map[string]string{
		"gcc-12": "gcc-12", "x86_64-linux-gnu-gcc-12": "gcc-12", "gcc": "gcc", "clang-19": "clang-19", "aarch64-linux-gnu-clang": "clang", "icc": "icc",
	} {
		if got := compilerPackage(cc); got != want {
			t.Errorf("compilerPackage(%s) = %s; want %s", cc, got, want)
		}
	}
}

// One line for each file system, also for directories that are still to come.
func TestTight(t *testing.T) {
	dir := t.TempDir()
	d := &doctor{}
	d.tight(0, dir)
	if len(d.found) > 0 {
		t.Errorf("found %v where nothing is needed", d.found)
	}
	d.tight(math.MaxUint64, filepath.Join(dir, "not/there"), dir)
	if len(d.found) != 1 || !strings.HasSuffix(d.found[0].Text, "MB left at "+dir+"/not/there") || d.found[0].Fixable {
		t.Errorf("found %v; want one line about %s", d.found, dir)
	}
}

func TestForeignHook(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name, text string
		mode       os.FileMode
		want       bool
	}{
		{"theirs", "#!/bin/sh\nexec dkms autoinstall\n", 0o755, true},
		{"ours", "#!/bin/sh\nexec /opt/dkms-hook --hook=prerm \"$@\"\n", 0o755, false},
		{"binary", "\x7fELF", 0o755, false},
		{"switched off", "#!/bin/sh\n", 0o644, false},
	} {
		path := filepath.Join(dir, test.name)
		if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
			t.Fatal(err)
		}
		if got := foreignHook(path); got != test.want {
			t.Errorf("foreignHook(%s) = %v; want %v", test.name, got, test.want)
		}
	}
	if foreignHook(filepath.Join(dir, "none")) {
		t.Error("a file that is not there is a foreign hook")
	}
}
