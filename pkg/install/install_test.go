package install

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// house is an image with one kernel, whose modules are plain text: nobody
// loads them.
type house struct {
	*Installer
	t      *testing.T
	k      *kernel.Kernel
	target tree.Target
	said   *bytes.Buffer
}

var (
	one = tree.ID{Name: "foo", Version: "1"}
	two = tree.ID{Name: "foo", Version: "2"}
)

func newHouse(t *testing.T) *house {
	t.Helper()
	root := system.Root{Dir: t.TempDir()}
	said := &bytes.Buffer{}
	h := &house{t: t, said: said, k: kernel.New(root, "6.1", "x86_64", kernel.Options{}), target: tree.Target{Kernel: "6.1", Arch: "x86_64"}}
	w, err := tree.Open(root).Lock(t.Context(), "test", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Unlock("") })
	h.Installer = &Installer{
		Tree: w, Report: report.New(said, &report.Lines{W: said}), Run: system.NewRunner(system.Host{}), Now: time.Now, Distribution: "debian",
	}
	h.mkdir(h.k.ModuleDir())
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) mkdir(dir string) {
	h.t.Helper()
	h.must(os.MkdirAll(dir, 0o755))
}

func (h *house) write(path, text string) {
	h.t.Helper()
	h.mkdir(filepath.Dir(path))
	h.must(os.WriteFile(path, []byte(text), 0o644))
}

// in is a path in the kernel's module directory.
func (h *house) in(path string) string { return filepath.Join(h.k.ModuleDir(), path) }

// archived is a path in the archive of originals.
func (h *house) archived(name string) string {
	return filepath.Join(h.Tree.Originals("foo", h.target), name)
}

// build gives a version built files; the text of each names the version.
func (h *house) build(id tree.ID, names ...string) *Set {
	h.t.Helper()
	s := &Set{ID: id, Kernel: h.k, Conf: &conf.Module{Name: id.Name, Version: id.Version}}
	h.must(os.RemoveAll(h.Tree.Modules(id, h.target)))
	for _, n := range names {
		h.write(filepath.Join(h.Tree.Modules(id, h.target), n), n+" of "+id.String())
		name, _, _ := strings.Cut(n, ".")
		s.Records = append(s.Records, conf.Record{BuiltName: name, DestName: name, DestLocation: "/kernel/extra"})
	}
	if m, _ := h.Tree.Manifest(id, h.target); m != nil { // built again: that is on record
		var err error
		m.Files, err = h.builtFiles(s)
		h.must(err)
		h.must(m.Save(h.Tree.BuildDir(id, h.target)))
	}
	return s
}

func (h *house) install(s *Set) {
	h.t.Helper()
	h.must(h.Install(context.Background(), s))
}

// state is every file of the kernel and of the tree with its text, but for the
// manifests.
func (h *house) state() string {
	h.t.Helper()
	var list []string
	for _, dir := range []string{h.k.ModuleDir(), h.Tree.Dir()} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && (d.IsDir() || d.Name() == ".manifest.json") {
				return nil
			}
			text, _ := os.ReadFile(path)
			if d.Type()&fs.ModeSymlink != 0 {
				to, _ := os.Readlink(path)
				text = []byte("-> " + to)
			}
			rel, _ := filepath.Rel(h.Tree.Root().Dir, path)
			list = append(list, rel+": "+strings.TrimSpace(string(text)))
			return err
		})
		h.must(err)
	}
	return strings.Join(list, "\n")
}

// kernelHas is what lies in the kernel's module directory: "PATH=TEXT ...".
func (h *house) kernelHas() string {
	h.t.Helper()
	var list []string
	for line := range strings.SplitSeq(h.state(), "\n") {
		if rest, ok := strings.CutPrefix(line, "lib/modules/6.1/"); ok {
			list = append(list, strings.Replace(rest, ": ", "=", 1))
		}
	}
	return strings.Join(list, "; ")
}

func (h *house) wantKernel(want string) {
	h.t.Helper()
	if got := h.kernelHas(); got != want {
		h.t.Errorf("the kernel has %s; want %s", got, want)
	}
}

func TestInstallUninstall(t *testing.T) {
	t.Parallel()
	for _, symlink := range []bool{false, true} {
		h := newHouse(t)
		h.Symlink = symlink
		h.install(h.build(one, "foo.ko", "bar.ko.xz"))
		for _, name := range []string{"foo.ko", "bar.ko.xz"} {
			path := h.in("updates/dkms/" + name)
			got, err := os.ReadFile(path)
			if err != nil || string(got) != name+" of foo/1" {
				t.Errorf("%s is %q, %v", path, got, err)
			}
			to, _ := os.Readlink(path)
			if want := filepath.Join(h.Tree.Modules(one, h.target), name); symlink != (to == want) {
				t.Errorf("symlink %v: %s leads to %q", symlink, path, to)
			}
		}
		m, err := h.Tree.Manifest(one, h.target)
		if err != nil || m == nil || len(m.Installed) != 2 || m.Installed[0].Link != symlink || !Unchanged(m.Installed[0]) || !Unchanged(m.Installed[1]) {
			t.Fatalf("the manifest is %+v, %v", m, err)
		}
		if !h.Tree.IsInstalled(one, h.target) || Unfinished(h.Tree.Tree) {
			t.Error("it is not installed, or the journal is left")
		}
		if got := len(strings.Split(h.kernelHas(), "; ")); got != 2 {
			t.Errorf("the kernel has %s; want two files", h.kernelHas())
		}
		h.must(h.Uninstall(one, h.k))
		if entries, err := os.ReadDir(h.k.ModuleDir()); err != nil || len(entries) > 0 {
			t.Errorf("uninstalling left %v, %v", entries, err)
		}
		if h.Tree.Active("foo", h.target) != "" || !h.Tree.IsBuilt(one, h.target) {
			t.Error("uninstalling left the link, or took the build")
		}
		if m, err := h.Tree.Manifest(one, h.target); err != nil || m == nil || len(m.Installed) > 0 || len(m.Files) != 2 {
			t.Errorf("after uninstalling the manifest is %+v, %v", m, err)
		}
	}
}

func TestDestinations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ distribution, addon, want string }{
		{"debian", "", "updates/dkms/foo.ko"}, {"fedora", "", "extra/foo.ko"}, {"suse", "", "updates/foo.ko"},
		{"gentoo", "", "kernel/extra/foo.ko"}, {"debian", "weak", "weak/foo.ko"}, {"debian", "../../../etc", "etc/foo.ko"},
	} {
		h := newHouse(t)
		h.Distribution, h.Addon = test.distribution, test.addon
		h.install(h.build(one, "foo.ko"))
		h.wantKernel(test.want + "=foo.ko of foo/1")
	}
}

// Another version takes the place of the active one, and all of its files.
func TestInstallOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.install(h.build(one, "foo.ko", "old.ko"))
	h.write(h.in("updates/dkms/other.ko"), "somebody's")
	h.install(h.build(two, "foo.ko.xz", "new.ko"))
	h.wantKernel("updates/dkms/foo.ko.xz=foo.ko.xz of foo/2; updates/dkms/new.ko=new.ko of foo/2; updates/dkms/other.ko=somebody's")
	if got := h.Tree.Active("foo", h.target); got != "2" {
		t.Errorf("version %s is active; want 2", got)
	}
	if m, err := h.Tree.Manifest(one, h.target); err != nil || len(m.Installed) > 0 {
		t.Errorf("the manifest of the version before is %+v, %v; want nothing installed", m, err)
	}
	h.must(h.Uninstall(two, h.k))
	h.wantKernel("updates/dkms/other.ko=somebody's")
}

// Siblings under another suffix would shadow the new file.
func TestOutdatedSuffixes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.install(h.build(one, "foo.ko"))
	for _, suffix := range []string{".gz", ".xz"} {
		h.write(h.in("updates/dkms/foo.ko"+suffix), "stale")
	}
	h.write(h.in("updates/dkms/foo.ko.bak"), "kept")
	h.write(h.in("updates/dkms/foobar.ko.xz"), "kept")
	h.write(h.in("kernel/foo.ko.xz"), "the kernel's")
	h.install(h.build(one, "foo.ko.zst"))
	h.wantKernel("kernel/foo.ko.xz=the kernel's; updates/dkms/foo.ko.bak=kept; updates/dkms/foo.ko.zst=foo.ko.zst of foo/1; updates/dkms/foobar.ko.xz=kept")
}

// With a directory in the way of one file nothing changes, wherever in the
// order of the files that is.
func TestInstallRollsBack(t *testing.T) {
	t.Parallel()
	for _, inTheWay := range []string{"a.ko", "b.ko", "c.ko"} {
		h := newHouse(t)
		h.install(h.build(one, "a.ko", "old.ko"))
		s := h.build(two, "a.ko", "b.ko", "c.ko")
		if inTheWay == "a.ko" {
			h.must(os.Remove(h.in("updates/dkms/a.ko")))
		}
		h.write(h.in("updates/dkms/"+inTheWay+"/inside"), "x")
		before := h.state()
		err := h.Install(context.Background(), s)
		if exit.Status(err) != exit.InstallFailed || !strings.Contains(err.Error(), "foo/2: ") {
			t.Errorf("with a directory in the place of %s: %v; want status 6", inTheWay, err)
		}
		if got := h.state(); got != before {
			t.Errorf("with a directory in the place of %s there is\n%s\nwant\n%s", inTheWay, got, before)
		}
		if got := h.Tree.Active("foo", h.target); got != "1" {
			t.Errorf("version %s is active; want 1", got)
		}
	}
}

// What is not a directory cannot hold the destination.
func TestInstallWithoutDestination(t *testing.T) {
	h := newHouse(t)
	h.write(h.in("updates"), "a file")
	s := h.build(one, "foo.ko")
	before := h.state()
	if err := h.Install(context.Background(), s); exit.Status(err) != exit.InstallFailed {
		t.Errorf("Install = %v; want status 6", err)
	}
	if got := h.state(); got != before {
		t.Errorf("there is\n%s\nwant\n%s", got, before)
	}
}

func TestLinkCannotFlip(t *testing.T) {
	h := newHouse(t)
	s := h.build(one, "foo.ko")
	h.write(h.in("kernel/foo.ko"), "the kernel's")
	h.write(filepath.Join(h.Tree.ActiveLink("foo", tree.Target{Kernel: "6.1", Arch: "x86_64"}), "inside"), "x")
	if err := h.Install(context.Background(), s); exit.Status(err) != exit.InstallFailed {
		t.Errorf("Install = %v; want status 6", err)
	}
	h.wantKernel("kernel/foo.ko=the kernel's")
	if Unfinished(h.Tree.Tree) {
		t.Error("the journal is left")
	}
}

func TestCheckAndMissing(t *testing.T) {
	h := newHouse(t)
	s := h.build(one, "foo.ko", "bar.ko")
	h.must(h.Check(s))
	h.must(os.Remove(filepath.Join(h.Tree.Modules(one, h.target), "bar.ko")))
	if err := h.Check(s); exit.Status(err) != exit.NotBuilt || !strings.Contains(exit.Hint(err), "dkms build --force foo/1 -k 6.1") {
		t.Errorf("Check = %v, hint %q; want status 6", err, exit.Hint(err))
	}
	if err := h.Install(context.Background(), s); exit.Status(err) != exit.NotBuilt {
		t.Errorf("Install = %v; want status 6", err)
	}
	h.wantKernel("")
	h.must(os.RemoveAll(h.k.ModuleDir()))
	if err := h.Check(s); exit.Status(err) != exit.InstallFailed || exit.Hint(err) == "" {
		t.Errorf("Check without the kernel = %v; want status 6 and a hint", err)
	}
}

func TestFindModule(t *testing.T) {
	h := newHouse(t)
	dir := h.in("x")
	for _, name := range []string{"a.ko", "a.ko.xz", "b.ko.gz", "b.ko.zst", "c.ko.bz2", "d.ko/x"} {
		h.write(filepath.Join(dir, name), "")
	}
	for name, want := range map[string]string{"a": "a.ko", "b": "b.ko.gz", "c": "", "d": "", "e": ""} {
		got := FindModule(dir, name)
		if want != "" {
			want = filepath.Join(dir, want)
		}
		if got != want {
			t.Errorf("FindModule(%s) = %q; want %q", name, got, want)
		}
	}
}

// The order in which originals are looked for is the original's.
func TestOriginalPreference(t *testing.T) {
	t.Parallel()
	all := []string{"extra/foo.ko", "extra/foo.ko.xz", "updates/foo.ko.gz", "updates/dkms/foo.ko.zst", "kernel/net/foo.ko"}
	for i, want := range all {
		h := newHouse(t)
		for _, path := range all[i:] {
			h.write(h.in(path), "original "+path)
		}
		h.install(h.build(one, "foo.ko.xz"))
		base := filepath.Base(want)
		got, err := os.ReadFile(h.archived(base))
		if err != nil || string(got) != "original "+want {
			t.Errorf("of %v there is %q archived, %v; want %s", all[i:], got, err, want)
		}
		if origin, err := os.ReadFile(h.archived(base + ".origin")); string(origin) != h.in(want)+"\n" {
			t.Errorf("its origin is %q, %v; want one line with %s", origin, err, want)
		}
		if strings.Contains(h.kernelHas(), want+"=original") {
			t.Errorf("%s is still there: %s", want, h.kernelHas())
		}
		h.must(h.Uninstall(one, h.k))
		if !strings.Contains(h.kernelHas(), want+"=original "+want) || exists(h.archived("")) {
			t.Errorf("%s is not put back, or the archive is left: %s", want, h.kernelHas())
		}
	}
}

// The archive belongs to the package: what one version displaced comes back
// when another is uninstalled.
func TestOriginalAcrossVersions(t *testing.T) {
	h := newHouse(t)
	h.write(h.in("updates/dkms/foo.ko"), "the kernel's")
	h.install(h.build(one, "foo.ko"))
	h.install(h.build(two, "foo.ko"))
	if got, err := os.ReadFile(h.archived("foo.ko")); string(got) != "the kernel's" {
		t.Errorf("archived is %q, %v", got, err)
	}
	h.must(h.Uninstall(two, h.k))
	h.wantKernel("updates/dkms/foo.ko=the kernel's")
}

// An origin outside the kernel's directory is not believed: the file stays in
// the archive, and uninstalling goes on.
func TestHostileOrigins(t *testing.T) {
	t.Parallel()
	outside := []string{
		"/etc/passwd", "IMAGE/etc/shadow", "MODULES/../6.2/kernel/foo.ko", "MODULES/../../../etc/foo.ko", "MODULES", "MODULES/", "MODULES/.", "MODULES-evil/foo.ko",
		"kernel/foo.ko", "../foo.ko", "", "\n", "\x00", "MODULES/..",
	}
	for _, text := range outside {
		h := newHouse(t)
		h.write(h.in("kernel/keep.ko"), "kept")
		h.install(h.build(one, "foo.ko"))
		h.write(h.archived("foo.ko"), "archived")
		root := h.Tree.Root().Dir
		text = strings.NewReplacer("MODULES", h.k.ModuleDir(), "IMAGE", root).Replace(text)
		h.write(h.archived("foo.ko.origin"), text)
		h.must(h.Uninstall(one, h.k))
		h.wantKernel("kernel/keep.ko=kept")
		if got, err := os.ReadFile(h.archived("foo.ko")); string(got) != "archived" {
			t.Errorf("origin %q: the archived file is %q, %v", text, got, err)
		}
		if !strings.Contains(h.said.String(), "warning: foo/1: "+h.archived("foo.ko")+" is not put back") {
			t.Errorf("origin %q: nothing was said: %s", text, h.said)
		}
		if exists(filepath.Join(root, "etc")) || exists(filepath.Join(root, "lib/modules/6.2")) || exists(h.k.ModuleDir()+"-evil") {
			t.Errorf("origin %q: a file went outside", text)
		}
	}
}

// Origins with detours that stay inside are as good as any.
func TestOriginInside(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"MODULES/kernel/foo.ko\n", "MODULES/kernel/foo.ko", "MODULES//kernel/foo.ko\n", "  MODULES/kernel/foo.ko  \n"} {
		h := newHouse(t)
		h.install(h.build(one, "foo.ko"))
		h.write(h.archived("foo.ko"), "archived")
		h.write(h.archived("foo.ko.origin"), strings.ReplaceAll(text, "MODULES", h.k.ModuleDir()))
		h.must(h.Uninstall(one, h.k))
		h.wantKernel("kernel/foo.ko=archived")
	}
}

// Archives from before origins were written go where dkms.conf says.
func TestOriginLegacy(t *testing.T) {
	h := newHouse(t)
	h.install(h.build(one, "foo.ko"))
	h.write(h.archived("foo.ko"), "archived")
	h.write(h.archived("stranger.ko"), "whose?")
	h.must(h.Uninstall(one, h.k))
	h.wantKernel("kernel/extra/foo.ko=archived")
	if got, err := os.ReadFile(h.archived("stranger.ko")); string(got) != "whose?" {
		t.Errorf("a file that nobody knows is %q, %v", got, err)
	}
}

// A file that somebody else has put in the place of an installed one is
// theirs; one that is gone is said to be gone.
func TestUninstallReplaced(t *testing.T) {
	h := newHouse(t)
	h.install(h.build(one, "foo.ko", "bar.ko"))
	h.must(os.Remove(h.in("updates/dkms/bar.ko")))
	h.must(h.Uninstall(one, h.k))
	h.wantKernel("")
	if !strings.Contains(h.said.String(), "bar.ko was already gone") {
		t.Errorf("it said %q", h.said)
	}
}

func TestUnchanged(t *testing.T) {
	h := newHouse(t)
	path := h.in("foo.ko")
	h.write(path, "text")
	f, err := describe(path)
	h.must(err)
	if !Unchanged(f) {
		t.Error("a file that was just described has changed")
	}
	other := f
	other.ModTime++
	if !Unchanged(other) {
		t.Error("another time alone is a change")
	}
	h.write(path, "tex7")
	st, err := os.Stat(path)
	h.must(err)
	f.ModTime = st.ModTime().UnixNano() - 1
	if Unchanged(f) {
		t.Error("another content is no change")
	}
	h.must(os.Remove(path))
	if Unchanged(f) {
		t.Error("a file that is gone is unchanged")
	}
}

func TestObsolete(t *testing.T) {
	for _, test := range []struct {
		by, release  string
		force, wants bool
	}{
		{"", "6.1", false, false}, {"6.1", "6.1", false, true}, {"6.1", "6.0.9", false, false}, {"6.1", "6.10", false, true},
		{"6.1", "6.10", true, false}, {"5.10.0-20", "5.10.0-19-amd64", false, false}, {"5.10.0-20", "5.10.0-21-amd64", false, true},
	} {
		s := &Set{Kernel: kernel.New(system.Root{}, test.release, "x86_64", kernel.Options{}), Conf: &conf.Module{ObsoleteBy: test.by}, Force: test.force}
		if got := obsolete(s); (got != "") != test.wants {
			t.Errorf("OBSOLETE_BY=%s, kernel %s, force %v: %q; want refused: %v", test.by, test.release, test.force, got, test.wants)
		}
	}
}

func TestWeakCommand(t *testing.T) {
	for distribution, want := range map[string]string{
		"debian": "", "fedora": "", "rhel fedora": "/usr/sbin/weak-modules --no-initramfs --add-modules",
		"suse":          "/usr/lib/module-init-tools/weak-modules2 --add-kernel-modules 6.1",
		"opensuse suse": "/usr/lib/module-init-tools/weak-modules2 --add-kernel-modules 6.1", "": "",
	} {
		if got := strings.Join(weakCommand(distribution, "6.1", true), " "); got != want {
			t.Errorf("weakCommand(%q) = %q; want %q", distribution, got, want)
		}
		removed := weakCommand(distribution, "6.1", false)
		if want != "" && !slices.ContainsFunc(removed, func(a string) bool { return strings.HasPrefix(a, "--remove") }) {
			t.Errorf("weakCommand(%q) to remove = %q", distribution, removed)
		}
	}
}

// What is not what was built is not installed, unless that is forced; a link
// never is.
func TestInstallVerifies(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.build(one, "foo.ko")
	h.install(s)
	h.must(h.Uninstall(one, h.k))
	built := filepath.Join(h.Tree.Modules(one, h.target), "foo.ko")
	h.write(built, "somebody's")
	err := h.Install(context.Background(), s)
	if exit.Status(err) != exit.NotBuilt || !strings.Contains(exit.Hint(err), "dkms build --force foo/1") {
		t.Errorf("Install of a changed module = %v; want status %d with a hint", err, exit.NotBuilt)
	}
	h.wantKernel("")
	s.Force = true
	h.install(s)
	h.wantKernel("updates/dkms/foo.ko=somebody's")
	if !strings.Contains(h.said.String(), "is not what was built; it is installed because of --force") {
		t.Errorf("nothing was said of it: %s", h.said)
	}
	h.must(h.Uninstall(one, h.k))
	s.Force = false
	h.install(s) // it is on record now
	h.must(h.Uninstall(one, h.k))

	secret := filepath.Join(t.TempDir(), "secret")
	h.write(secret, "somebody's") // even with the right contents
	h.must(os.Remove(built))
	h.must(os.Symlink(secret, built))
	for _, s.Force = range []bool{false, true} {
		if err := h.Install(context.Background(), s); exit.Status(err) != exit.NotBuilt || !strings.Contains(err.Error(), "is a link") {
			t.Errorf("Install of a link = %v; want status %d", err, exit.NotBuilt)
		}
	}
	h.wantKernel("")
}

// DKMS before 3.1 writes nothing beside an original that it archives: the kernel's
// own list says where that belongs, whatever else is there.
func TestRestoreByModulesOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ order, want string }{
		{"kernel/lib/other.ko\nkernel/drivers/net/foo.ko\n", "kernel/drivers/net/foo.ko.xz=the kernel's"},
		{"kernel/drivers/../../../foo.ko\nkernel/a/foo.ko\n", "kernel/a/foo.ko.xz=the kernel's"},
		{"", ""},
	} {
		h := newHouse(t)
		h.install(h.build(one, "foo.ko"))
		h.write(h.archived("foo.ko.xz"), "the kernel's")
		h.write(h.in("modules.order"), test.order)
		h.must(os.Remove(filepath.Join(h.Tree.BuildDir(one, h.target), ".manifest.json"))) // as the original leaves it
		h.must(h.Uninstall(one, h.k))
		h.must(os.Remove(h.in("modules.order")))
		h.wantKernel(test.want)
		if kept := exists(h.archived("foo.ko.xz")); kept != (test.want == "") {
			t.Errorf("with %q in modules.order the original is in the archive: %v", test.order, kept)
		}
	}
}
