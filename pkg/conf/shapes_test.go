package conf

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestShapes evaluates the ways in which packages write their dkms.conf, for
// several kernels, and compares every directive with what bash makes of it.
func TestShapes(t *testing.T) {
	r := newReader(t)
	archive, err := txtar.ParseFile("testdata/shapes.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir, headers := filepath.Join(r.Host.Root.Dir, "shapes"), filepath.Join(r.Host.Root.Dir, "headers")
	write(t, filepath.Join(headers, ".config"), "CONFIG_MODULES=y\nCONFIG_PCI=y\nCONFIG_USB=m\n")
	write(t, filepath.Join(headers, "include/linux/new.h"), "")
	var files []string
	for _, f := range archive.Files {
		path := write(t, filepath.Join(dir, f.Name), string(f.Data))
		if strings.HasSuffix(f.Name, ".conf") {
			files = append(files, path)
		}
	}
	if len(files) < 60 {
		t.Errorf("%d shapes; want 60 at least", len(files))
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // for the user that evaluates
		os.Chmod(d, 0o755)
	}
	varies, shell := map[string]bool{}, 0
	var first []values
	for _, release := range []string{"5.10.0-33-amd64", "6.1.0-56-amd64", "6.12.95+deb12-amd64", "7.2.0-rc3"} {
		ref := Ref{Name: "demo", Version: "1.0", Target: Target{Release: release, Arch: "x86_64", SourceDir: headers, ConfigFile: headers + "/.config"}}
		vars := r.moduleVars(ref)
		want := oracle(t, moduleNames, vars, files)
		for i, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := plain(text, moduleNames, vars, values{}); !ok {
				shell++
			}
			ev, err := r.shell(moduleNames).read(t.Context(), setting{vars: vars, show: []string{dir, headers}}, once(file, string(text)))
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
				continue
			}
			if !equalValues(ev.values, want[i]) {
				t.Errorf("%s for %s: %v; want %v", filepath.Base(file), release, ev.values, want[i])
			}
			if first != nil && !equalValues(first[i], want[i]) {
				varies[filepath.Base(file)] = true
			}
		}
		if first == nil {
			first = want
		}
	}
	t.Logf("%d shapes, %d evaluations by bash, %d differ from kernel to kernel: %s",
		len(files), shell, len(varies), strings.Join(slices.Sorted(maps.Keys(varies)), " "))
	if len(varies) < 20 {
		t.Errorf("only %d shapes know what kernel they are for", len(varies))
	}
}
