package archive

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dkms/pkg/exit"
)

func TestInspect(t *testing.T) {
	for _, test := range []struct {
		what   string
		names  []string // files, or directories with a slash at the end
		source string
		binary string
		builds []string
		plain  bool
		code   exit.Code
	}{
		{what: "empty", code: exit.NotAdded},
		{what: "no dkms.conf", names: []string{"a/b/README"}, code: exit.NotAdded},
		{what: "a directory named dkms.conf", names: []string{"dkms.conf/"}, code: exit.NotAdded},
		{what: "plain", names: []string{"dkms.conf"}, source: ".", plain: true},
		{what: "plain, below", names: []string{"m-1/dkms.conf"}, source: "m-1", plain: true},
		{what: "plain, the highest first", names: []string{"m-1/a/dkms.conf", "m-1/dkms.conf", "a/b/c/dkms.conf"}, source: "m-1", plain: true},
		{what: "plain, then in order", names: []string{"b/dkms.conf", "a/dkms.conf"}, source: "a", plain: true},
		{what: "source tree alone is plain", names: []string{"dkms_source_tree/dkms.conf"}, source: "dkms_source_tree", plain: true},
		{what: "builds without either", names: []string{"dkms_main_tree/6.1/x86_64/module/"}, code: exit.BadArchive},
		{what: "no dkms.conf in either", names: []string{"dkms_main_tree/", "dkms_source_tree/x", "dkms_binaries_only/x"}, code: exit.BadArchive},
		{what: "sources", names: []string{"dkms_main_tree/", "dkms_source_tree/dkms.conf"}, source: "dkms_source_tree"},
		{what: "sources before binaries", names: []string{"dkms_main_tree/", "dkms_source_tree/dkms.conf", "dkms_binaries_only/dkms.conf"}, source: "dkms_source_tree"},
		{what: "binaries", names: []string{"dkms_main_tree/6.1/x86_64/module/m.ko", "dkms_binaries_only/dkms.conf"},
			binary: "dkms_binaries_only", builds: []string{"6.1 x86_64"}},
		{what: "what is a build", names: []string{
			"dkms_main_tree/6.2/x86_64/module/", "dkms_main_tree/6.1/x86_64/module/", "dkms_main_tree/6.1/i686/module/",
			"dkms_main_tree/.6.1/x86_64/module/", "dkms_main_tree/6.1/.tmp/module/", "dkms_main_tree/6.3/x86_64/log/", "dkms_main_tree/file",
			"dkms_source_tree/dkms.conf"},
			source: "dkms_source_tree", builds: []string{"6.1 i686", "6.1 x86_64", "6.2 x86_64"}},
		{what: "a kernel named build", names: []string{"dkms_main_tree/build/x86_64/module/", "dkms_source_tree/dkms.conf"}, code: exit.BadArchive},
		{what: "a kernel named -k", names: []string{"dkms_main_tree/-k/x86_64/module/", "dkms_source_tree/dkms.conf"}, code: exit.BadArchive},
		{what: "an arch with a blank", names: []string{"dkms_main_tree/6.1/x 86/module/", "dkms_source_tree/dkms.conf"}, code: exit.BadArchive},
	} {
		t.Run(test.what, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range test.names {
				if name[len(name)-1] == '/' {
					must(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
					continue
				}
				put(t, filepath.Join(dir, name), "x", 0o644)
			}
			l, err := Inspect(dir)
			wantCode(t, "Inspect()", err, test.code)
			var got []string
			for _, b := range l.Builds {
				got = append(got, b.Kernel+" "+b.Arch)
				if b.Dir != filepath.Join(dir, buildsDir, b.Kernel, b.Arch) {
					t.Errorf("directory of %s = %s", b.Kernel, b.Dir)
				}
			}
			if rel(dir, l.Source) != test.source || rel(dir, l.BinariesOnly) != test.binary || l.Plain != test.plain || !slices.Equal(got, test.builds) {
				t.Errorf("Inspect() = %+v", l)
			}
		})
	}
}

func rel(dir, path string) string {
	if path == "" {
		return ""
	}
	r, err := filepath.Rel(dir, path)
	if err != nil {
		return err.Error()
	}
	return r
}

// What is unpacked is moved: a link that is inside of the archive can lead
// anywhere from where its part ends up.
func TestInspectRefusesLinksBetweenParts(t *testing.T) {
	conf := reg("dkms_source_tree/dkms.conf")
	for what, headers := range map[string][]tar.Header{
		"sources to builds":     {folder("dkms_main_tree"), conf, link("dkms_source_tree/l", "../dkms_main_tree")},
		"sources to nothing":    {folder("dkms_main_tree"), conf, link("dkms_source_tree/l", "../etc/passwd")},
		"a module":              {reg("dkms_main_tree/6.1/x86_64/module/m.ko"), conf, link("dkms_main_tree/6.1/x86_64/module/n.ko", "../../../../etc/passwd")},
		"dkms.conf":             {folder("dkms_main_tree"), reg("x"), link("dkms_source_tree/dkms.conf", "../x")},
		"plain sources further": {reg("a/b/c/dkms.conf"), link("a/b/c/l", "../../../etc/passwd")},
		"binaries":              {folder("dkms_main_tree"), reg("dkms_binaries_only/dkms.conf"), link("dkms_binaries_only/l", "../x")},
	} {
		dir, err := unpackBytes(t, tarball(t, headers...))
		must(t, err)
		if l, err := Inspect(dir); exit.Status(err) != exit.BadArchive {
			t.Errorf("%s: Inspect() = %+v, %v; want exit status %d", what, l, err, exit.BadArchive)
		}
	}
}

func TestInspectIgnoresLinksInTheWay(t *testing.T) {
	dir, err := unpackBytes(t, tarball(t, reg("t/dkms_main_tree/6.1/x86_64/module/m.ko"), link("dkms_main_tree", "t/dkms_main_tree"), reg("m/dkms.conf")))
	must(t, err)
	l, err := Inspect(dir)
	must(t, err)
	if !l.Plain || len(l.Builds) != 0 || l.Source != filepath.Join(dir, "m") {
		t.Errorf("Inspect() = %+v; want plain sources", l)
	}
}

func TestLocalLink(t *testing.T) {
	for _, test := range []struct {
		name, target string
		ok           bool
	}{
		{"l", "f", true},
		{"l", "./d//f", true},
		{"l", ".", true},
		{"d/l", "..", true},
		{"d/l", "../f", true},
		{"d/l", "./../f", true},
		{"d/e/l", "../../f", true},
		{"l", "..f", true},
		{"l", "", false},
		{"l", "..", false},
		{"l", "/", false},
		{"l", "/f", false},
		{"l", "d/..", false},
		{"d/l", "../..", false},
		{"d/l", "../d/../f", false},
		{"d/e/l", "../../../f", false},
	} {
		if err := localLink(test.name, test.target); (err == nil) != test.ok {
			t.Errorf("localLink(%q, %q) = %v; want it to be fine: %t", test.name, test.target, err, test.ok)
		}
	}
}
