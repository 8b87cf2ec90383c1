package archive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

var formats = []string{".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.bz2", ".tbz2", ".dkms"}

func TestWriteIsReadByTarAndByUs(t *testing.T) {
	need(t, "tar", "gzip", "xz", "zstd", "bzip2")
	c := Content{Name: "hello", Version: "1.0", SourceDir: sources(t), Builds: builds(t)}
	for _, suffix := range formats {
		t.Run(suffix, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "new", "a"+suffix)
			must(t, Write(t.Context(), runner(), file, c))
			judge := t.TempDir()
			output(t, "tar", "-C", judge, "-xpf", file)
			holdsContent(t, "tar", judge, c)

			ours := filepath.Join(t.TempDir(), "out")
			must(t, Unpack(t.Context(), runner(), file, nil, ours))
			same(t, "unpacked", look(t, ours), look(t, judge))
			l, err := Inspect(ours)
			must(t, err)
			if want := filepath.Join(ours, sourceDir); l.Source != want || l.BinariesOnly != "" || l.Plain || len(l.Builds) != 2 {
				t.Errorf("Inspect() = %+v; want the source %s and two builds", l, want)
			}
		})
	}
}

func holdsContent(t *testing.T, what, dir string, c Content) {
	t.Helper()
	seen := look(t, dir)
	same(t, what+": sources", below(seen, sourceDir), look(t, c.SourceDir))
	for _, b := range c.Builds {
		same(t, what+": "+b.Kernel, below(seen, filepath.Join(buildsDir, b.Kernel, b.Arch)), look(t, b.Dir))
	}
}

func TestWriteCompressesAsItsNameSays(t *testing.T) {
	c := Content{Name: "hello", Version: "1.0", SourceDir: sources(t)}
	for suffix, want := range map[string]compression{
		".tar": plain, ".tar.gz": gzipped, ".tar.xz": xzed, ".tar.zst": zstded, ".tar.bz2": bzipped,
	} {
		if want == bzipped {
			need(t, "bzip2")
		}
		file := filepath.Join(t.TempDir(), "a"+suffix)
		must(t, Write(t.Context(), runner(), file, c))
		data, err := os.ReadFile(file)
		must(t, err)
		if got := detect(data); got != want {
			t.Errorf("detect(a%s) = %d; want %d", suffix, got, want)
		}
	}
}

func TestWriteMembers(t *testing.T) {
	need(t, "tar")
	source := filepath.Join(t.TempDir(), "s")
	put(t, filepath.Join(source, "dkms.conf"), "x", 0o644)
	b := builds(t)
	build := "./dkms_main_tree/6.1.0-1-amd64/x86_64/"
	kept := []string{build + ".dep_other", build + ".manifest.json", build + "log/", build + "log/make.log", build + "module/", build + "module/hello.ko"}
	onlyOne := append([]string{"./dkms_main_tree/", "./dkms_main_tree/6.1.0-1-amd64/", build}, kept...)
	for _, test := range []struct {
		name string
		c    Content
		want []string
	}{
		{"sources", Content{SourceDir: source}, []string{"./dkms_main_tree/", "./dkms_source_tree/", "./dkms_source_tree/dkms.conf"}},
		{"both, a build named twice", Content{SourceDir: source, Builds: []Build{b[1], b[1]}},
			append(slices.Clone(onlyOne), "./dkms_source_tree/", "./dkms_source_tree/dkms.conf")},
		{"binaries", Content{Conf: []byte("y\n"), Builds: b[1:]},
			append([]string{"./dkms_binaries_only/", "./dkms_binaries_only/PACKAGE_NAME", "./dkms_binaries_only/PACKAGE_VERSION", "./dkms_binaries_only/dkms.conf"}, onlyOne...)},
	} {
		test.c.Name, test.c.Version = "hello", "1.0"
		file := filepath.Join(t.TempDir(), "a.tar")
		must(t, Write(t.Context(), runner(), file, test.c))
		if got := strings.Fields(output(t, "tar", "-tf", file)); !slices.Equal(got, test.want) {
			t.Errorf("%s: tar -t = %q; want %q", test.name, got, test.want)
		}
		for line := range strings.Lines(output(t, "tar", "--numeric-owner", "-tvf", file)) {
			if strings.Fields(line)[1] != "0/0" {
				t.Errorf("%s: owner of %q; want 0/0", test.name, line)
			}
		}
	}
}

func TestWriteBinariesOnly(t *testing.T) {
	c := Content{Name: "hello", Version: "1.0", Conf: []byte("the conf\n"), Builds: builds(t)}
	file := filepath.Join(t.TempDir(), "a.tar.gz")
	must(t, Write(t.Context(), runner(), file, c))
	dir := filepath.Join(t.TempDir(), "out")
	must(t, Unpack(t.Context(), runner(), file, nil, dir))
	for name, want := range map[string]string{"PACKAGE_NAME": "hello\n", "PACKAGE_VERSION": "1.0\n", "dkms.conf": "the conf\n"} {
		got, err := os.ReadFile(filepath.Join(dir, binariesDir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	l, err := Inspect(dir)
	must(t, err)
	if l.Source != "" || l.BinariesOnly != filepath.Join(dir, binariesDir) || len(l.Builds) != 2 || l.Builds[0].Kernel != "6.1.0-1-amd64" {
		t.Errorf("Inspect() = %+v", l)
	}
}

func TestWriteIsReproducible(t *testing.T) {
	c := Content{Name: "hello", Version: "1.0", SourceDir: sources(t), Builds: builds(t)}
	reversed := c
	reversed.Builds = slices.Clone(c.Builds)
	slices.Reverse(reversed.Builds)
	dir := t.TempDir()
	for _, suffix := range []string{".tar", ".tar.gz", ".tar.xz", ".tar.zst"} {
		one, two := filepath.Join(dir, "one"+suffix), filepath.Join(dir, "two"+suffix)
		must(t, Write(t.Context(), runner(), one, c))
		must(t, Write(t.Context(), runner(), two, reversed))
		a, err := os.ReadFile(one)
		must(t, err)
		b, err := os.ReadFile(two)
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: the same content made different archives", suffix)
		}
	}
}

func TestWriteIntoItsOwnSources(t *testing.T) {
	need(t, "tar")
	source := filepath.Join(t.TempDir(), "s")
	put(t, filepath.Join(source, "dkms.conf"), "x", 0o644)
	file := filepath.Join(source, "a.tar")
	must(t, Write(t.Context(), runner(), file, Content{Name: "hello", Version: "1.0", SourceDir: source}))
	if got := output(t, "tar", "-tf", file); strings.Contains(got, system.StagePrefix) {
		t.Errorf("the archive holds itself: %s", got)
	}
}

func TestWriteReplacesAFile(t *testing.T) {
	dir := t.TempDir()
	old := put(t, filepath.Join(dir, "old.tar"), "old", 0o600)
	name := filepath.Join(dir, "link.tar")
	must(t, os.Symlink("old.tar", name))
	must(t, Write(t.Context(), runner(), name, Content{Name: "hello", Version: "1.0", SourceDir: sources(t)}))
	st, err := os.Lstat(old)
	must(t, err)
	if st.Size() < 512 || st.Mode() != 0o644 {
		t.Errorf("%s has %d bytes and the mode %v", old, st.Size(), st.Mode())
	}
	if target, _ := os.Readlink(name); target != "old.tar" {
		t.Errorf("Readlink(%s) = %q; want that the link stays", name, target)
	}
}

func TestWriteRefuses(t *testing.T) {
	good, b := sources(t), builds(t)
	bad := func(make func(dir string) error) Content {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "dkms.conf"), "x", 0o644)
		must(t, make(dir))
		return Content{Name: "m", Version: "1", SourceDir: dir}
	}
	linked := func(to string) Content {
		return bad(func(dir string) error { return os.Symlink(to, filepath.Join(dir, "l")) })
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "", 0o644)
	must(t, os.Mkdir(filepath.Join(dir, "d.tar"), 0o755))
	must(t, syscall.Mkfifo(filepath.Join(dir, "p.tar"), 0o600))
	for _, test := range []struct {
		what, file string
		c          Content
		want       exit.Code
	}{
		{"nothing", "a.tar", Content{Name: "m", Version: "1"}, exit.NotBuilt},
		{"name", "a.tar", Content{Name: "../m", Version: "1", SourceDir: good}, exit.Usage},
		{"kernel", "a.tar", Content{Name: "m", Version: "1", Builds: []Build{{"..", "x86_64", b[0].Dir}}}, exit.Usage},
		{"arch", "a.tar", Content{Name: "m", Version: "1", Builds: []Build{{"6.1", "", b[0].Dir}}}, exit.EmptyTarget},
		{"not built", "a.tar", Content{Name: "m", Version: "1", SourceDir: good, Builds: []Build{{"6.1", "x86_64", "/nonexistent"}}}, exit.NotBuilt},
		{"no sources", "a.tar", Content{Name: "m", Version: "1", SourceDir: "/nonexistent"}, exit.NoSource},
		{"sources are a file", "a.tar", Content{Name: "m", Version: "1", SourceDir: filepath.Join(dir, "file")}, exit.NoSource},
		{"absolute link", "a.tar", linked("/etc/passwd"), writeFailed},
		{"link out", "a.tar.xz", linked("../x"), writeFailed},
		{"pipe", "a.tar.zst", bad(func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "p"), 0o600) }), writeFailed},
		{"pipe, through bzip2", "a.tar.bz2", bad(func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "p"), 0o600) }), writeFailed},
		{"suffix", "a.tar.lz", Content{Name: "m", Version: "1", SourceDir: good}, writeFailed},
		{"below a file", "file/a.tar", Content{Name: "m", Version: "1", SourceDir: good}, exit.ArchiveDest},
		{"over a directory", "d.tar", Content{Name: "m", Version: "1", SourceDir: good}, exit.ArchiveDest},
		{"over a pipe", "p.tar", Content{Name: "m", Version: "1", SourceDir: good}, exit.ArchiveDest},
	} {
		before := look(t, dir)
		err := Write(t.Context(), runner(), filepath.Join(dir, test.file), test.c)
		if err == nil {
			t.Errorf("%s: Write() = nil; want an error", test.what)
		}
		wantCode(t, test.what, err, test.want)
		same(t, test.what, names(look(t, dir)), names(before))
	}
}

// A link of another user in a directory for everybody leads nowhere, whether it
// is in the place of the archive or of a directory above it.
func TestWriteStrangersLink(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make links of another user")
	}
	c := Content{Name: "hello", Version: "1.0", SourceDir: sources(t)}
	for _, test := range []struct {
		uid  int
		mode os.FileMode
		ok   bool
	}{
		{1234, 0o777 | os.ModeSticky, false},
		{0, 0o777 | os.ModeSticky, true},
		{1234, 0o755, true}, // root's directory: root made it, or gave it away
	} {
		dir, outside := t.TempDir(), t.TempDir()
		target := put(t, filepath.Join(outside, "target"), "kept", 0o600)
		must(t, os.Chmod(dir, test.mode))
		for link, to := range map[string]string{"a.tar": target, "d": outside} {
			must(t, os.Symlink(to, filepath.Join(dir, link)))
			must(t, os.Lchown(filepath.Join(dir, link), test.uid, test.uid))
		}
		for _, name := range []string{"a.tar", "d/b.tar", "d/new/b.tar"} {
			err := Write(t.Context(), runner(), filepath.Join(dir, name), c)
			if (err == nil) != test.ok {
				t.Errorf("owner %d, mode %v, %s: Write() = %v", test.uid, test.mode, name, err)
			}
			if !test.ok {
				wantCode(t, name, err, exit.ArchiveDest)
			}
		}
		if got, _ := os.ReadDir(outside); !test.ok && (len(got) != 1 || mustRead(t, target) != "kept") {
			t.Errorf("owner %d, mode %v: the directory outside holds %v", test.uid, test.mode, got)
		}
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

// Of a log that takes no space and has any length there is as much as one has.
func TestWriteCutsLogs(t *testing.T) {
	b := builds(t)[:1]
	log := put(t, filepath.Join(b[0].Dir, "log/make.log"), "begin", 0o644)
	must(t, os.Truncate(log, 1<<40))
	name := filepath.Join(t.TempDir(), "a.tar.zst")
	must(t, Write(t.Context(), runner(), name, Content{Name: "hello", Version: "1.0", SourceDir: sources(t), Builds: b}))
	to := filepath.Join(t.TempDir(), "to")
	must(t, Unpack(t.Context(), runner(), name, nil, to))
	st, err := os.Stat(filepath.Join(to, "dkms_main_tree", b[0].Kernel, b[0].Arch, "log/make.log"))
	if err != nil || st.Size() > maxLog || st.Size() < maxLog/2 {
		t.Errorf("the log has %v, %v; want at most %d bytes", st.Size(), err, maxLog)
	}
	must(t, os.Rename(log, filepath.Join(b[0].Dir, "log/other")))
	err = Write(t.Context(), runner(), name, Content{Name: "hello", Version: "1.0", SourceDir: sources(t), Builds: b})
	wantCode(t, "a file of a terabyte", err, writeFailed)
}

// names leaves out what [look] saw but the names.
func names(seen map[string]string) map[string]string {
	for name := range seen {
		seen[name] = ""
	}
	return seen
}

func TestWriteStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, suffix := range []string{".tar", ".tar.bz2"} {
		dir := t.TempDir()
		err := Write(ctx, runner(), filepath.Join(dir, "a"+suffix), Content{Name: "m", Version: "1", SourceDir: sources(t)})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Write() = %v; want %v", suffix, err, context.Canceled)
		}
		same(t, suffix, look(t, dir), nil)
	}
}

func TestFileName(t *testing.T) {
	k := func(n string) Build { return Build{Kernel: n, Arch: "x86_64"} }
	long := strings.Repeat("9", 199-len("kernel-x86_64"))
	for _, test := range []struct {
		c    Content
		want string
	}{
		{Content{Name: "m", Version: "1", SourceDir: "s"}, "m-1-source-only.dkms.tar.gz"},
		{Content{Name: "m", Version: "1", SourceDir: "s", Builds: []Build{k("6.1")}}, "m-1-kernel6.1-x86_64.dkms.tar.gz"},
		{Content{Name: "m", Version: "1", Builds: []Build{k("6.2"), k("6.1")}}, "m-1-kernel6.2-x86_64-kernel6.1-x86_64.dkms.tar.gz"},
		{Content{Name: "m", Version: "1"}, "m-1-.dkms.tar.gz"},
		{Content{Name: "m", Version: "1", Builds: []Build{k(long)}}, "m-1-kernel" + long + "-x86_64.dkms.tar.gz"},
		{Content{Name: "m", Version: "1", Builds: []Build{k(long + "9")}}, "m-1-manykernels.dkms.tar.gz"},
	} {
		if got := FileName(test.c); got != test.want {
			t.Errorf("FileName(%+v) = %s; want %s", test.c, got, test.want)
		}
	}
}
