package prebuilt

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

func TestTag(t *testing.T) {
	long := strings.Repeat("v", 140)
	for _, test := range []struct {
		name, version, kernel, arch, want string
	}{
		{"hello", "1.0", "6.1.0-56-amd64", "x86_64", "hello_1.0_6.1.0-56-amd64_x86_64"},
		{"a-b.c", "1-2", "6.1", "x", "a-b.c_1-2_6.1_x"},
		{"foo", "1.0+git", "6.1.0+", "x86_64", "foo_1.0_git_6.1.0__x86_64_" + digest([]byte("foo\n1.0+git\n6.1.0+\nx86_64"))[:12]},
		{"foo", "1.0~git", "6.1.0+", "x86_64", "foo_1.0_git_6.1.0__x86_64_" + digest([]byte("foo\n1.0~git\n6.1.0+\nx86_64"))[:12]},
		{"foo", long, "6.1", "x", "foo_" + long[:128-4-13] + "_" + digest([]byte("foo\n" + long + "\n6.1\nx"))[:12]},
		{"größe", "1", "2", "x", "gr__e_1_2_x_" + digest([]byte("größe\n1\n2\nx"))[:12]},
	} {
		got := Tag(tree.ID{Name: test.name, Version: test.version}, tree.Target{Kernel: test.kernel, Arch: test.arch})
		if got != test.want {
			t.Errorf("Tag(%s, %s, %s, %s) = %q; want %q", test.name, test.version, test.kernel, test.arch, got, test.want)
		}
	}
}

// tagForm is what registries take (OCI Distribution Specification).
var tagForm = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

func FuzzTag(f *testing.F) {
	f.Add("hello", "1.0", "6.1.0-56-amd64", "x86_64")
	f.Add("x", strings.Repeat("ü", 100), "+", "y")
	f.Fuzz(func(t *testing.T, name, version, release, arch string) {
		id, target := tree.ID{Name: name, Version: version}, tree.Target{Kernel: release, Arch: arch}
		if id.Check() != nil || target.Check() != nil {
			return
		}
		if tag := Tag(id, target); !tagForm.MatchString(tag) {
			t.Errorf("Tag(%s, %s) = %q; want a tag", id, target, tag)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"schema":1,"module":"m","version":"1","kernel":"6.1","arch":"x","source_digest":"0","files":[{"name":"m.ko"}]}`))
	f.Add([]byte(`{"schema":1,"module":"../m","version":"1","kernel":"6.1","arch":"x","files":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse(data)
		if err != nil {
			return
		}
		for _, name := range []string{r.Module, r.Version, r.Kernel, r.Arch} {
			if !system.PlainName(name) {
				t.Errorf("parse(%q) has the name %q; want an error", data, name)
			}
		}
		for _, file := range r.Files {
			if !system.PlainName(file.Name) {
				t.Errorf("parse(%q) has the file %q; want an error", data, file.Name)
			}
		}
	})
}

func TestOrdered(t *testing.T) {
	rec := func(name string, needs ...string) Record {
		r := Record{Module: name, Version: "1", Kernel: "k", Arch: "a", Depends: map[string]string{}}
		for _, n := range needs {
			r.Depends[n] = "1"
		}
		return r
	}
	for _, test := range []struct {
		list []Record
		want string
	}{
		{[]Record{rec("a", "b"), rec("b", "c"), rec("c")}, "c b a"},
		{[]Record{rec("a"), rec("b"), rec("c", "elsewhere")}, "a b c"},
		{[]Record{rec("a", "b"), rec("b", "a"), rec("c")}, "c a b"},
		{nil, ""},
	} {
		var names []string
		for _, r := range Ordered(test.list) {
			names = append(names, r.Module)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("Ordered(%v) = %s; want %s", test.list, got, test.want)
		}
	}
}

func TestBusybox(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	real, err := filepath.EvalSymlinks(sh)
	if err != nil {
		t.Fatal(err)
	}
	if err := Busybox(real, "riscv64"); err == nil {
		t.Errorf("Busybox(%s) takes a program of another machine", real)
	}
	if err := Busybox("/etc/passwd", "x86_64"); err == nil {
		t.Error("Busybox takes what is no program")
	}
}

func TestRecordsOfNothing(t *testing.T) {
	if list, err := Records(t.TempDir()); exit.Status(err) != exit.BadArchive {
		t.Errorf("Records(empty) = %v, %v; want status %d", list, err, exit.BadArchive)
	}
}

func TestParseDep(t *testing.T) {
	paths, depends := parseDep("kernel/a/vid-dev.ko.xz: kernel/a/mc.ko.xz updates/dkms/x.ko kernel/../../etc/x.ko\n" +
		"kernel/a/mc.ko.xz:\nupdates/dkms/own.ko: kernel/a/mc.ko.xz\n/abs/y.ko:\nnonsense\n")
	if len(paths) != 2 || paths["vid_dev"] != "kernel/a/vid-dev.ko.xz" || paths["mc"] != "kernel/a/mc.ko.xz" {
		t.Errorf("parseDep finds %v; want the two modules of the kernel", paths)
	}
	if got := strings.Join(depends["kernel/a/vid-dev.ko.xz"], " "); got != "kernel/a/mc.ko.xz" {
		t.Errorf("parseDep has vid-dev need %q; want mc", got)
	}
}

func FuzzParseDep(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\n")
	f.Fuzz(func(t *testing.T, text string) {
		paths, depends := parseDep(text)
		for name, path := range paths {
			for _, p := range append(depends[path], path) {
				if !filepath.IsLocal(p) {
					t.Errorf("parseDep(%q): %s leads to %q", text, name, p)
				}
			}
		}
	})
}
