package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var must, write = testkit.Must, testkit.Write

var (
	foo    = ID{"foo", "1.0"}
	target = Target{"6.1.0-1-amd64", "x86_64"}
)

// newTree is an empty tree with a source tree beside it.
func newTree(t testing.TB) *Writer {
	t.Helper()
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, "src"))
	return &Writer{Tree: Open(system.Root{Dir: dir, State: filepath.Join(dir, "state"), Source: filepath.Join(dir, "src")})}
}

func mkdir(t testing.TB, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func link(t testing.TB, path, text string) {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	if err := os.Symlink(text, path); err != nil {
		t.Fatal(err)
	}
}

// add registers a version that has sources.
func add(t testing.TB, tr *Writer, id ID) {
	t.Helper()
	mkdir(t, tr.Sources(id))
	if err := tr.Add(id, tr.Sources(id)); err != nil {
		t.Fatal(err)
	}
}

// built adds a version and gives it builds.
func built(t testing.TB, tr *Writer, id ID, targets ...Target) {
	t.Helper()
	add(t, tr, id)
	for _, k := range targets {
		write(t, filepath.Join(tr.Modules(id, k), id.Name+".ko"), id.String())
	}
}

func names(t testing.TB, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}

func TestState(t *testing.T) {
	tests := []struct {
		name string
		make func(tr *Writer)
		want State
	}{
		{"nothing", func(*Writer) {}, Absent},
		{"only sources", func(tr *Writer) { mkdir(t, tr.Sources(foo)) }, Absent},
		{"a file instead", func(tr *Writer) { write(t, tr.VersionDir(foo), "") }, Absent},
		{"added", func(tr *Writer) { add(t, tr, foo) }, Added},
		{"added from elsewhere", func(tr *Writer) {
			mkdir(t, filepath.Join(tr.Root().Dir, "opt"))
			link(t, tr.SourceLink(foo), filepath.Join(tr.Root().Dir, "opt"))
		}, Added},
		{"added by a relative link", func(tr *Writer) {
			mkdir(t, tr.Sources(foo))
			link(t, tr.SourceLink(foo), "../../../src/foo-1.0")
		}, Added},
		{"added by a link to a link", func(tr *Writer) {
			mkdir(t, tr.Sources(ID{"foo", "0"}))
			link(t, tr.Sources(foo), "foo-0")
			link(t, tr.SourceLink(foo), tr.Sources(foo))
		}, Added},
		{"the link dangles", func(tr *Writer) { link(t, tr.SourceLink(foo), tr.Sources(foo)) }, Broken},
		{"the link leads to a file", func(tr *Writer) {
			write(t, tr.Sources(foo), "")
			link(t, tr.SourceLink(foo), tr.Sources(foo))
		}, Broken},
		{"the link is lost", func(tr *Writer) { mkdir(t, tr.Sources(foo), tr.ScratchDir(foo)) }, Broken},
		{"a directory instead of the link", func(tr *Writer) { mkdir(t, tr.Sources(foo), tr.SourceLink(foo)) }, Broken},
		{"link and sources are lost", func(tr *Writer) { mkdir(t, tr.ScratchDir(foo)) }, Absent},
		{"binaries only, without sources", func(tr *Writer) { write(t, filepath.Join(tr.SourceLink(foo), "dkms.conf"), "") }, Absent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTree(t)
			test.make(tr)
			if got := tr.State(foo); got != test.want {
				t.Errorf("State = %v; want %v", got, test.want)
			}
		})
	}
}

func TestBuiltAndInstalled(t *testing.T) {
	tests := []struct {
		name             string
		make             func(tr *Writer)
		built, installed bool
	}{
		{"added", func(tr *Writer) { add(t, tr, foo) }, false, false},
		{"build without modules", func(tr *Writer) { mkdir(t, filepath.Join(tr.BuildDir(foo, target), "log")) }, false, false},
		{"module is a file", func(tr *Writer) { write(t, tr.Modules(foo, target), "") }, false, false},
		{"built", func(tr *Writer) { built(t, tr, foo, target) }, true, false},
		{"built, with nothing in it", func(tr *Writer) { mkdir(t, tr.Modules(foo, target)) }, true, false},
		{"for another kernel", func(tr *Writer) { built(t, tr, foo, Target{"6.1.0", "x86_64"}) }, false, false},
		{"for another architecture", func(tr *Writer) { built(t, tr, foo, Target{target.Kernel, "i686"}) }, false, false},
		{"installed", func(tr *Writer) {
			built(t, tr, foo, target)
			activate(t, tr, foo, target)
		}, true, true},
		{"active but not built", func(tr *Writer) {
			add(t, tr, foo)
			activate(t, tr, foo, target)
		}, false, false},
		{"another version is active", func(tr *Writer) {
			built(t, tr, foo, target)
			built(t, tr, ID{"foo", "2.0"}, target)
			activate(t, tr, ID{"foo", "2.0"}, target)
		}, true, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTree(t)
			test.make(tr)
			if b, i := tr.IsBuilt(foo, target), tr.IsInstalled(foo, target); b != test.built || i != test.installed {
				t.Errorf("IsBuilt, IsInstalled = %v, %v; want %v, %v", b, i, test.built, test.installed)
			}
		})
	}
}

func activate(t testing.TB, tr *Writer, id ID, k Target) {
	t.Helper()
	if err := tr.Activate(id, k); err != nil {
		t.Fatal(err)
	}
}

// Whatever the tree is called, and however its link is spelled, the installed
// version is found: the original compares text and finds nothing.
func TestActiveSpellings(t *testing.T) {
	base := t.TempDir()
	mkdir(t, filepath.Join(base, "real"))
	link(t, filepath.Join(base, "linked"), "real")
	t.Chdir(base)
	for _, dir := range []string{
		filepath.Join(base, "real"), filepath.Join(base, "linked"), base + "/real/", base + "/linked/", base + "//real/../real",
		"real", "./real/", "linked", "../" + filepath.Base(base) + "/linked",
	} {
		for _, text := range []string{
			"1.0/6.1.0-1-amd64/x86_64", "./1.0/6.1.0-1-amd64/x86_64", "1.0//6.1.0-1-amd64/x86_64/", "../foo/1.0/6.1.0-1-amd64/x86_64",
			filepath.Join(base, "real/foo/1.0/6.1.0-1-amd64/x86_64"), filepath.Join(base, "linked/foo/1.0/6.1.0-1-amd64/x86_64"),
		} {
			tr := &Writer{Tree: Open(system.Root{State: dir})}
			mkdir(t, tr.Modules(foo, target))
			os.Remove(tr.ActiveLink("foo", target))
			link(t, tr.ActiveLink("foo", target), text)
			if got := tr.Active("foo", target); got != "1.0" {
				t.Errorf("tree %s, link %s: Active = %q; want 1.0", dir, text, got)
			}
			if !tr.IsInstalled(foo, target) {
				t.Errorf("tree %s, link %s: not installed", dir, text)
			}
		}
	}
}

func TestActiveNonsense(t *testing.T) {
	for _, text := range []string{
		"", "1.0", "1.0/6.1.0-1-amd64", "1.0/6.1.0-1-amd64/i686", "1.0/6.1.0/x86_64", "6.1.0-1-amd64/x86_64", "/6.1.0-1-amd64/x86_64",
		"../bar/1.0/6.1.0-1-amd64/x86_64", "../../foo/1.0/6.1.0-1-amd64/x86_64", "/elsewhere/foo/1.0/6.1.0-1-amd64/x86_64",
		"1.0/sub/6.1.0-1-amd64/x86_64", "1.0/6.1.0-1-amd64/x86_64/module", "..", "/", "1.0/X6.1.0-1-amd64/x86_64",
	} {
		tr := newTree(t)
		built(t, tr, foo, target)
		built(t, tr, ID{"bar", "1.0"}, target)
		if text == "" { // no link can be empty: a file is as good as none
			write(t, tr.ActiveLink("foo", target), "1.0/6.1.0-1-amd64/x86_64")
		} else {
			link(t, tr.ActiveLink("foo", target), text)
		}
		if got := tr.Active("foo", target); got != "" {
			t.Errorf("link %q: Active = %q; want none", text, got)
		}
	}
}

func describe(list []Version) string {
	var b strings.Builder
	for _, v := range list {
		fmt.Fprintf(&b, "%s:%d", v.ID, v.State)
		for _, k := range v.Builds {
			fmt.Fprintf(&b, " %s/%s", k.Kernel, k.Arch)
			if k.Installed {
				b.WriteString("!")
			}
		}
		b.WriteString("; ")
	}
	return b.String()
}

func TestListing(t *testing.T) {
	tr := newTree(t)
	if all, err := tr.All(); err != nil || all != nil {
		t.Errorf("All of a missing tree = %v, %v; want nothing", all, err)
	}
	odd := []Target{{"next-20240101", "x86_64"}, {"5.4.0-my-build", "x86_64"}, {"6.1.0", "aarch64"}, {"6.1.0", "x86_64"}, {"kernel", "riscv64"}}
	built(t, tr, foo, odd...)
	built(t, tr, ID{"foo", "10"}, target)
	activate(t, tr, ID{"foo", "10"}, target)
	activate(t, tr, foo, odd[1])
	add(t, tr, ID{"bar-baz", "kernel-1"}) // one dash: a version; two: the link of a kernel
	add(t, tr, ID{"Zed", "1"})
	link(t, tr.SourceLink(ID{"broken", "3"}), "/none")
	mkdir(t, tr.VersionDir(ID{"bar-baz", "kernel-1-2"}), tr.VersionDir(ID{"bar-baz", ".hidden"}),
		tr.Originals("foo", target), filepath.Join(tr.Dir(), ".cache/1"))
	write(t, filepath.Join(tr.Dir(), "mok.key"), "")
	write(t, filepath.Join(tr.Dir(), ".lock"), "")
	write(t, filepath.Join(tr.Dir(), "post_transaction.log"), "")
	write(t, filepath.Join(tr.ModuleDir("foo"), "file"), "")
	for _, special := range []string{"build", "tarball", "driver_disk", "rpm", "deb"} {
		mkdir(t, filepath.Join(tr.VersionDir(foo), special, "x86_64/module"))
	}
	mkdir(t, filepath.Join(tr.VersionDir(foo), "6.1.0/.tmp_x86_64_abc/module"), filepath.Join(tr.VersionDir(foo), ".6/x86_64/module"),
		filepath.Join(tr.VersionDir(foo), "6.2/x86_64/log"))
	write(t, filepath.Join(tr.VersionDir(foo), ".failure-6-x86_64.json"), "{}")
	// Links to directories count as modules and versions, as in the original.
	link(t, filepath.Join(tr.Dir(), "alias"), "bar-baz")
	link(t, filepath.Join(tr.ModuleDir("Zed"), "2"), "1")
	all, err := tr.All()
	if err != nil {
		t.Fatal(err)
	}
	want := "Zed/1:1; Zed/2:1; alias/kernel-1:1; bar-baz/kernel-1:1; broken/3:2; " +
		"foo/1.0:1 5.4.0-my-build/x86_64! 6.1.0/aarch64 6.1.0/x86_64 kernel/riscv64 next-20240101/x86_64; foo/10:1 6.1.0-1-amd64/x86_64!; "
	if got := describe(all); got != want {
		t.Errorf("All =\n%s; want\n%s", got, want)
	}
	if got, err := tr.Versions("none"); got != nil || err != nil {
		t.Errorf("Versions(none) = %v, %v", got, err)
	}
}

// What cannot be read is not taken for nothing, on any level; what can be is
// listed all the same.
func TestUnreadable(t *testing.T) {
	tr := newTree(t)
	bar := ID{"bar", "2"}
	for _, id := range []ID{foo, bar} {
		add(t, tr, id)
		built(t, tr, id, target)
	}
	for dir := tr.Root().Dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	for dir, want := range map[string]string{
		tr.ModuleDir("foo"):                    "bar/2:1 6.1.0-1-amd64/x86_64; ",
		tr.VersionDir(foo):                     "bar/2:1 6.1.0-1-amd64/x86_64; foo/1.0:2; ",
		filepath.Dir(tr.BuildDir(foo, target)): "bar/2:1 6.1.0-1-amd64/x86_64; foo/1.0:1; ",
		tr.BuildDir(foo, target):               "bar/2:1 6.1.0-1-amd64/x86_64; foo/1.0:1; ",
	} {
		must(t, os.Chmod(dir, 0))
		asNobody(t, func() {
			all, err := tr.All()
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: All = %v; want an error that names it", dir, err)
			}
			if got := describe(all); got != want {
				t.Errorf("%s: All = %s; want %s", dir, got, want)
			}
		})
		must(t, os.Chmod(dir, 0o755))
	}
}

// asNobody does something as a user to whom modes apply.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if os.Getuid() == 0 {
			unix.Setfsuid(65534)
		}
		do()
	}()
	<-done
}

func TestNamesUnreadable(t *testing.T) {
	tr := newTree(t)
	write(t, tr.Dir(), "a file")
	if names, err := tr.Names(); err == nil {
		t.Errorf("Names of a file = %v; want an error", names)
	}
}

// What the original does not count as its own, it must not find either: names
// of ours are hidden.
func TestOwnNamesAreHidden(t *testing.T) {
	tr := newTree(t)
	built(t, tr, foo, target)
	must(t, (&Manifest{Module: "foo"}).Save(tr.BuildDir(foo, target)))
	must(t, tr.RecordFailure(foo, target, Failure{Message: "x"}))
	w, err := tr.Lock(context.Background(), "test", func(string) {})
	must(t, err)
	defer w.Unlock("")
	for _, name := range strings.Fields(names(t, tr.Dir())) {
		base := filepath.Base(name)
		known := slices.Contains([]string{"foo", "1.0", "source", "build", target.Kernel, target.Arch, "module", "foo.ko"}, base)
		if !known && !strings.HasPrefix(base, ".") {
			t.Errorf("%s would be seen by the original", name)
		}
	}
}

func TestAddRepairs(t *testing.T) {
	tr := newTree(t)
	link(t, tr.SourceLink(foo), "/none")
	add(t, tr, foo)
	if got, _ := os.Readlink(tr.SourceLink(foo)); tr.State(foo) != Added || got != tr.Sources(foo) {
		t.Errorf("after Add the state is %v, the link %s", tr.State(foo), got)
	}
	if got := names(t, tr.Dir()); got != "foo foo/1.0 foo/1.0/build foo/1.0/source" {
		t.Errorf("Add made %s", got)
	}
}

func TestActivateDeactivate(t *testing.T) {
	tr := newTree(t)
	built(t, tr, foo, target)
	must(t, tr.Deactivate("foo", target)) // nothing to do
	activate(t, tr, foo, target)
	if got, _ := os.Readlink(tr.ActiveLink("foo", target)); got != "1.0/6.1.0-1-amd64/x86_64" {
		t.Errorf("the link is %q; want the relative text of the original", got)
	}
	activate(t, tr, ID{"foo", "2.0"}, target)
	if got := tr.Active("foo", target); got != "2.0" {
		t.Errorf("Active = %q; want 2.0", got)
	}
	must(t, tr.Deactivate("foo", target))
	if got := tr.Active("foo", target); got != "" {
		t.Errorf("Active = %q; want none", got)
	}
	if !tr.IsBuilt(foo, target) {
		t.Error("the build is gone")
	}
}

func TestDropBuild(t *testing.T) {
	tr := newTree(t)
	other := Target{target.Kernel, "i686"}
	next := Target{"6.1.0-10-amd64", "x86_64"}
	built(t, tr, foo, target, other, next)
	built(t, tr, ID{"foo", "2.0"}, target)
	must(t, tr.RecordFailure(foo, target, Failure{}))
	must(t, tr.RecordFailure(foo, next, Failure{}))
	mkdir(t, filepath.Join(tr.VersionDir(foo), target.Kernel, ".tmp_x86_64_old"))
	must(t, tr.DropBuild(foo, target))
	if tr.IsBuilt(foo, target) || !tr.IsBuilt(foo, other) || !tr.IsBuilt(foo, next) || !tr.IsBuilt(ID{"foo", "2.0"}, target) {
		t.Errorf("DropBuild left %s", names(t, tr.Dir()))
	}
	if tr.Failure(foo, target) != nil || tr.Failure(foo, next) == nil {
		t.Error("DropBuild does not forget the one failure")
	}
	must(t, tr.DropBuild(foo, other))
	if !system.IsDir(filepath.Join(tr.VersionDir(foo), target.Kernel, ".tmp_x86_64_old")) {
		t.Error("a build for another architecture has lost its stage")
	}
	must(t, tr.DropBuild(foo, target)) // not there
	if system.IsDir(filepath.Join(tr.VersionDir(foo), target.Kernel)) {
		t.Error("the kernel's directory is left, though nothing but an interrupted stage is in it")
	}
	if got := tr.State(foo); got != Added {
		t.Errorf("State = %v; want added", got)
	}
}

func TestForget(t *testing.T) {
	tr := newTree(t)
	two := ID{"foo", "2.0"}
	built(t, tr, foo, target)
	built(t, tr, two, target)
	built(t, tr, ID{"foobar", "1.0"}, target)
	activate(t, tr, two, target)
	must(t, tr.Forget(foo))
	if tr.State(foo) != Absent || !tr.IsInstalled(two, target) || !system.IsDir(tr.Sources(foo)) {
		t.Errorf("Forget left %s", names(t, tr.Dir()))
	}
	write(t, filepath.Join(tr.Originals("foo", target), "foo.ko"), "the kernel's")
	must(t, tr.Deactivate("foo", target))
	must(t, tr.Forget(two))
	if !system.IsFile(filepath.Join(tr.Originals("foo", target), "foo.ko")) {
		t.Error("Forget deleted an archived original")
	}
	must(t, tr.Forget(ID{"foobar", "1.0"}))
	if system.IsDir(tr.ModuleDir("foobar")) {
		t.Error("the directory of a package without versions is left")
	}
	must(t, tr.Forget(foo)) // not there
	must(t, tr.Forget(ID{"none", "1"}))
}

// A version that is a link to somewhere goes; what it leads to does not.
func TestForgetLink(t *testing.T) {
	tr := newTree(t)
	elsewhere := filepath.Join(tr.Root().Dir, "elsewhere")
	write(t, filepath.Join(elsewhere, "file"), "kept")
	link(t, tr.VersionDir(foo), elsewhere)
	must(t, tr.Forget(foo))
	if got := names(t, elsewhere); got != "file" {
		t.Errorf("beyond the link there is %q left", got)
	}
}

// Names that are no names delete nothing.
func TestDeletingIsChecked(t *testing.T) {
	tr := newTree(t)
	built(t, tr, foo, target)
	before := names(t, tr.Root().Dir)
	for _, id := range []ID{{}, {"foo", ""}, {"", "1.0"}, {"foo", "."}, {"foo", ".."}, {"..", "src"}, {".", "foo"}, {"foo", "1.0/" + target.Kernel}, {"foo", "original_module"}} {
		if err := tr.Forget(id); err == nil {
			t.Errorf("Forget(%q) succeeded", id)
		}
		if err := tr.DropBuild(id, target); err == nil {
			t.Errorf("DropBuild(%q) succeeded", id)
		}
	}
	for _, k := range []Target{{}, {target.Kernel, ""}, {"", "x86_64"}, {"..", "1.0"}, {".", "."}, {"source", "x"}, {"build", "x"}, {target.Kernel, ".."}, {"../..", "src"}} {
		if err := tr.DropBuild(foo, k); err == nil {
			t.Errorf("DropBuild(%q) succeeded", k)
		}
	}
	if got := names(t, tr.Root().Dir); got != before {
		t.Errorf("there is %s left of %s", got, before)
	}
}

func TestCheck(t *testing.T) {
	for _, id := range []ID{foo, {"nvidia-current", "535.1"}, {"a", "kernel-1"}, {"x", "1.0~rc1+git"}} {
		if err := id.Check(); err != nil {
			t.Errorf("%q.Check() = %v", id, err)
		}
	}
	for _, id := range []ID{{"", "1"}, {"a", ""}, {"a/b", "1"}, {"a", "../1"}, {"-a", "1"}, {"a b", "1"}, {"a", "original_module"}, {".a", "1"}} {
		if err := id.Check(); exit.Status(err) != exit.Usage {
			t.Errorf("%q.Check() = %v; want status 1", id, err)
		}
	}
	for _, k := range []Target{target, {"next-20240101", "x86_64"}, {"5.4.0-my-build", "x86_64"}} {
		if err := k.Check(); err != nil {
			t.Errorf("%v.Check() = %v", k, err)
		}
	}
	for k, want := range map[Target]exit.Code{
		{"", "x"}: exit.EmptyTarget, {"6", ""}: exit.EmptyTarget, {}: exit.EmptyTarget, {"../6", "x"}: exit.Usage, {"6", "x/y"}: exit.Usage,
		{"build", "x"}: exit.Usage, {"source", "x"}: exit.Usage, {"tarball", "x"}: exit.Usage, {"6 1", "x"}: exit.Usage,
	} {
		if err := k.Check(); exit.Status(err) != want {
			t.Errorf("%q.Check() = %v; want status %d", k, err, want)
		}
	}
}

func TestLockNamesHolder(t *testing.T) {
	tr := newTree(t)
	w, err := tr.Lock(context.Background(), "dkms build foo/1.0", func(string) { t.Error("waiting") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	holder := ""
	_, err = tr.Lock(ctx, "dkms status", func(h string) { holder = h; cancel() })
	if want := fmt.Sprintf("dkms build foo/1.0 (process %d)", os.Getpid()); holder != want || !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for %q, %v; want %q", holder, err, want)
	}
	w.Unlock("")
	if all, err := tr.All(); err != nil || all != nil {
		t.Errorf("a tree with a lock in it holds %v, %v", all, err)
	}
}

// What a script was given of a build whose run was killed is root's again; the
// rest of the tree is left alone.
func TestSweepOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	tr := newTree(t)
	add(t, tr, foo)
	given := []string{tr.Modules(foo, target) + "/foo.ko", tr.Modules(foo, target), tr.BuildDir(foo, target), filepath.Dir(tr.BuildDir(foo, target))}
	others := tr.VersionDir(foo) + "/users"
	write(t, given[0], "module")
	write(t, others, "")
	for _, path := range given {
		if err := os.Lchown(path, system.BuildUser(3), system.BuildUser(3)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Lchown(others, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	tr.Sweep()
	for _, path := range append(given, others) {
		var st unix.Stat_t
		want := uint32(0)
		if path == others {
			want = 1000
		}
		if err := unix.Lstat(path, &st); err != nil || st.Uid != want {
			t.Errorf("%s belongs to %d, %v; want %d", path, st.Uid, err, want)
		}
	}
}
