package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"dkms/pkg/exit"
)

// unpackBytes unpacks data from standard input into a new directory, whose
// parent holds nothing else.
func unpackBytes(t testing.TB, data []byte) (dir string, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "out")
	return dir, Unpack(t.Context(), runner(), "-", bytes.NewReader(data), dir)
}

func TestUnpackWhatTarMakes(t *testing.T) {
	need(t, "tar", "gzip", "xz", "zstd", "bzip2")
	source := sources(t)
	must(t, os.Link(filepath.Join(source, "hello.c"), filepath.Join(source, "same.c")))
	put(t, filepath.Join(source, "loose"), "", 0o777)
	age(t, source)
	for _, args := range [][]string{
		{"--format=gnu"}, {"--format=posix"}, {"--format=ustar", "--exclude=./long"},
		{"-z"}, {"-j"}, {"-J"}, {"--zstd"},
		{"-I", "xz -T2 --block-size=32KiB"}, {"-I", "xz --check=crc32 -9"}, {"-I", "xz --check=sha256"}, {"-I", "xz --check=none"},
		{"-I", "xz --x86 --lzma2"}, {"-I", "xz --delta --lzma2=dict=1MiB"}, {"-I", "zstd -19 --long=27"}, {"-I", "pzstd"},
		{"-I", "bzip2 -1"}, {"-I", "gzip -1"}, {"--hard-dereference"}, {"--sort=name"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var judgeArgs []string
			if args[len(args)-1] == "pzstd" {
				need(t, "pzstd")
				judgeArgs = []string{"-I", "zstd"} // tar does not know what pzstd begins with
			}
			file := filepath.Join(t.TempDir(), "archive") // no suffix: the content tells
			output(t, append(append([]string{"tar", "-C", source, "-cf", file}, args...), ".")...)
			judge := t.TempDir()
			output(t, append([]string{"tar", "-C", judge, "--no-same-permissions", "-xf", file}, judgeArgs...)...)
			must(t, os.Chmod(filepath.Join(judge, "loose"), 0o755))
			dir := filepath.Join(t.TempDir(), "out")
			must(t, Unpack(t.Context(), runner(), file, nil, dir))
			same(t, "from the file", look(t, dir), look(t, judge))

			data, err := os.ReadFile(file)
			must(t, err)
			dir, err = unpackBytes(t, data)
			must(t, err)
			same(t, "from standard input", look(t, dir), look(t, judge))
		})
	}
}

func TestUnpackSparseFiles(t *testing.T) {
	need(t, "tar", "truncate")
	source := t.TempDir()
	file := put(t, filepath.Join(source, "holes"), "begin", 0o644)
	output(t, "truncate", "--size=3MiB", file)
	for _, format := range []string{"gnu", "posix"} {
		name := filepath.Join(t.TempDir(), "a.tar")
		output(t, "tar", "--format="+format, "-S", "-C", source, "-cf", name, ".")
		dir := filepath.Join(t.TempDir(), "out")
		must(t, Unpack(t.Context(), runner(), name, nil, dir))
		same(t, format, look(t, dir), look(t, source))

		u := &unpacker{limits: defaultLimits(), run: runner()}
		u.bytes = 1 << 20
		dir += "2"
		wantCode(t, format+": a small archive of a large file", u.unpack(t.Context(), name, nil, dir), exit.BadArchive)
		gone(t, dir)
	}
}

func TestUnpackConcatenatedStreams(t *testing.T) {
	need(t, "gzip", "xz", "zstd", "bzip2")
	data := tarball(t, reg("a"), reg("b"))
	for _, program := range []string{"gzip", "xz", "zstd", "bzip2"} {
		one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
		must(t, os.WriteFile(one, data[:700], 0o600))
		must(t, os.WriteFile(two, data[700:], 0o600))
		both := output(t, program, "-c", one) + output(t, program, "-c", two)
		dir, err := unpackBytes(t, []byte(both))
		if err != nil {
			t.Errorf("%s: Unpack() = %v", program, err)
			continue
		}
		if got := len(look(t, dir)); got != 2 {
			t.Errorf("%s: %d files; want 2", program, got)
		}
	}
}

func TestUnpackMembers(t *testing.T) {
	long := tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o6777, Size: 3}
	for _, test := range []struct {
		what    string
		headers []tar.Header
		want    map[string]string
	}{
		{"parents are made", []tar.Header{reg("a/b/c")}, map[string]string{"a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/c": "-rw-r--r--"}},
		{"./ and // and /.", []tar.Header{folder("./"), reg("./a//./b")}, map[string]string{"a": "drwxr-xr-x", "a/b": "-rw-r--r--"}},
		{"setuid, sticky and write for others", []tar.Header{long, {Typeflag: tar.TypeDir, Name: "d", Mode: 0o7777}},
			map[string]string{"x": "-rwxr-xr-x", "d": "drwxr-xr-x"}},
		{"no permission at all", []tar.Header{{Typeflag: tar.TypeReg, Name: "x", Mode: 0o1000}, {Typeflag: tar.TypeDir, Name: "d", Mode: 0o1000}},
			map[string]string{"x": "-r--------", "d": "drwx------"}},
		{"the last file wins", []tar.Header{{Typeflag: tar.TypeReg, Name: "x", Mode: 0o600}, {Typeflag: tar.TypeReg, Name: "./x", Mode: 0o755}},
			map[string]string{"x": "-rwxr-xr-x"}},
		{"a directory twice", []tar.Header{folder("d"), reg("d/f"), {Typeflag: tar.TypeDir, Name: "d/", Mode: 0o700}},
			map[string]string{"d": "drwx------", "d/f": "-rw-r--r--"}},
		{"links", []tar.Header{reg("d/f"), link("d/l", "../d/f"), link("e/l", "../d"), hard("h", "./d/f")},
			map[string]string{"d": "drwxr-xr-x", "e": "drwxr-xr-x", "d/f": "-rw-r--r--", "d/l": "Lrwxrwxrwx", "e/l": "Lrwxrwxrwx", "h": "-rw-r--r--"}},
		{"dots in names", []tar.Header{reg("..."), reg("..a/b..")},
			map[string]string{"...": "-rw-r--r--", "..a": "drwxr-xr-x", "..a/b..": "-rw-r--r--"}},
		{"nothing", nil, map[string]string{}},
	} {
		dir, err := unpackBytes(t, tarball(t, test.headers...))
		if err != nil {
			t.Errorf("%s: Unpack() = %v", test.what, err)
			continue
		}
		got := map[string]string{}
		for name := range look(t, dir) {
			st, err := os.Lstat(filepath.Join(dir, name))
			must(t, err)
			got[name] = st.Mode().String()
		}
		same(t, test.what, got, test.want)
	}
}

func TestUnpackHardLinksAreCopies(t *testing.T) {
	dir, err := unpackBytes(t, tarball(t, reg("a"), hard("b", "a")))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("changed"), 0o600))
	if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != "a" {
		t.Errorf("a = %q, %v; want it unchanged", got, err)
	}
}

func TestUnpackGitArchive(t *testing.T) {
	need(t, "git")
	repo := t.TempDir()
	put(t, filepath.Join(repo, "dkms.conf"), "x", 0o644)
	output(t, "git", "-C", repo, "init", "-q")
	output(t, "git", "-C", repo, "add", ".")
	output(t, "git", "-C", repo, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x")
	dir, err := unpackBytes(t, []byte(output(t, "git", "-C", repo, "archive", "--prefix=hello-1.0/", "HEAD")))
	must(t, err)
	if l, err := Inspect(dir); err != nil || !l.Plain || l.Source != filepath.Join(dir, "hello-1.0") {
		t.Errorf("Inspect() = %+v, %v", l, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	deep := strings.Repeat("d/", 101) + "f"
	for _, test := range []struct {
		what    string
		headers []tar.Header
	}{
		{"up", []tar.Header{reg("../x")}},
		{"up inside", []tar.Header{folder("a"), reg("a/../x")}},
		{"up behind ./", []tar.Header{reg("./../x")}},
		{"up alone", []tar.Header{folder("..")}},
		{"absolute", []tar.Header{reg("/tmp/x")}},
		{"twice absolute", []tar.Header{reg("//x")}},
		{"no name", []tar.Header{{Typeflag: tar.TypeSymlink, Linkname: "x"}}},
		{"top as a link", []tar.Header{link(".", "x")}},
		{"top as a file", []tar.Header{reg(".")}},
		{"long name", []tar.Header{reg(strings.Repeat("n", 1025))}},
		{"deep", []tar.Header{reg(deep)}},

		{"absolute link", []tar.Header{link("l", "/etc/passwd")}},
		{"link out", []tar.Header{link("l", "../x")}},
		{"link out of a directory", []tar.Header{link("a/b/l", "../../../x")}},
		{"link down and up", []tar.Header{folder("a"), link("l", "a/../x")}},
		{"link up through a link", []tar.Header{link("a/b/up", "../.."), link("a/b/l", "up/../x")}},
		{"link without a target", []tar.Header{link("l", "")}},
		{"link twice", []tar.Header{link("l", "a"), link("l", "b")}},
		{"link over a file", []tar.Header{reg("l"), link("l", "a")}},
		{"link over a directory", []tar.Header{folder("l"), link("l", "a")}},

		{"file through a link", []tar.Header{folder("d"), link("l", "d"), reg("l/f")}},
		{"file through a link deeper", []tar.Header{folder("d/e"), link("l", "d"), reg("l/e/f")}},
		{"file through a dangling link", []tar.Header{link("l", "d"), reg("l/f")}},
		{"file over a link", []tar.Header{reg("f"), link("l", "f"), reg("l")}},
		{"directory over a link", []tar.Header{folder("d"), link("l", "d"), folder("l")}},
		{"directory through a link", []tar.Header{folder("d"), link("l", "d"), folder("l/e")}},
		{"link through a link", []tar.Header{folder("d"), link("l", "d"), link("l/m", "x")}},
		{"file over a directory", []tar.Header{folder("d"), reg("d")}},
		{"directory over a file", []tar.Header{reg("d"), folder("d")}},
		{"file below a file", []tar.Header{reg("f"), reg("f/g")}},

		{"hard link out", []tar.Header{hard("h", "../../etc/passwd")}},
		{"hard link to an absolute name", []tar.Header{hard("h", "/etc/passwd")}},
		{"hard link to nothing", []tar.Header{hard("h", "f")}},
		{"hard link to a later file", []tar.Header{hard("h", "f"), reg("f")}},
		{"hard link to itself", []tar.Header{reg("h"), hard("h", "h")}},
		{"hard link to a directory", []tar.Header{folder("d"), hard("h", "d")}},
		{"hard link to a link", []tar.Header{reg("f"), link("l", "f"), hard("h", "l")}},
		{"hard link through a link", []tar.Header{reg("d/f"), link("l", "d"), hard("h", "l/f")}},
		{"hard link through a link", []tar.Header{folder("d"), reg("f"), link("l", "d"), hard("l/h", "f")}},

		{"character device", []tar.Header{kind("n", tar.TypeChar)}},
		{"block device", []tar.Header{kind("n", tar.TypeBlock)}},
		{"pipe", []tar.Header{kind("n", tar.TypeFifo)}},
		{"contiguous file", []tar.Header{kind("n", tar.TypeCont)}},
		{"unknown kind", []tar.Header{kind("n", 'Z')}},
	} {
		for _, before := range []tar.Header{reg("good"), folder("./")} {
			dir, err := unpackBytes(t, tarball(t, append([]tar.Header{before}, test.headers...)...))
			if err == nil {
				t.Errorf("%s: Unpack() = nil; want an error", test.what)
				continue
			}
			wantCode(t, test.what, err, exit.BadArchive)
			same(t, test.what, look(t, filepath.Dir(dir)), nil)
		}
	}
}

func TestUnpackLimits(t *testing.T) {
	for _, test := range []struct {
		what    string
		headers []tar.Header
		ok      bool
	}{
		{"as many members", []tar.Header{reg("a"), reg("b"), reg("c"), reg("d")}, true},
		{"more members", []tar.Header{reg("a"), reg("b"), reg("c"), reg("d"), reg("e")}, false},
		{"the same member", []tar.Header{reg("a"), reg("a"), reg("a"), reg("a"), reg("a")}, false},
		{"directories implied", []tar.Header{reg("a/b/c/d/e")}, false},
		{"as many bytes", []tar.Header{{Typeflag: tar.TypeReg, Name: "a", Size: 600}, {Typeflag: tar.TypeReg, Name: "b", Size: 400}}, true},
		{"more bytes", []tar.Header{{Typeflag: tar.TypeReg, Name: "a", Size: 600}, {Typeflag: tar.TypeReg, Name: "b", Size: 401}}, false},
		{"more bytes by a hard link", []tar.Header{{Typeflag: tar.TypeReg, Name: "a", Size: 600}, hard("b", "a")}, false},
	} {
		u := &unpacker{limits: defaultLimits(), run: runner()}
		u.limits.members, u.bytes = 4, 1000
		dir := filepath.Join(t.TempDir(), "out")
		err := u.unpack(t.Context(), "-", bytes.NewReader(tarball(t, test.headers...)), dir)
		if (err == nil) != test.ok {
			t.Errorf("%s: unpack() = %v; want success: %t", test.what, err, test.ok)
		}
		if !test.ok {
			wantCode(t, test.what, err, exit.BadArchive)
			gone(t, dir)
		}
	}
}

// header is one tar block that states a size, without the data.
func header(t *testing.T, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "f", Mode: 0o644, Size: size}))
	return b.Bytes()
}

func TestUnpackBombs(t *testing.T) {
	mebibytes := gzipOf(t, make([]byte, 16<<20))
	zeros := append(gzipOf(t, header(t, 1<<30)), bytes.Repeat(mebibytes, 64)...)
	tail := append(gzipOf(t, tarball(t, reg("a"))), mebibytes...)
	for what, data := range map[string][]byte{
		"a gigabyte of zeros":       zeros,
		"zeros behind the last one": tail,
		"a size of 8 EiB":           header(t, 1<<63-1),
		"a size without data":       header(t, 1<<19),
	} {
		u := &unpacker{limits: limits{members: 100, bytes: 1 << 20, name: 1024, depth: 10}, run: runner()}
		dir := filepath.Join(t.TempDir(), "out")
		in := &counting{r: bytes.NewReader(data)}
		wantCode(t, what, u.unpack(t.Context(), "-", in, dir), exit.BadArchive)
		gone(t, dir)
		if in.n > 1<<20 {
			t.Errorf("%s: %d bytes were read", what, in.n)
		}
	}
}

// gzipOf is data as one member of a gzip file.
func gzipOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestUnpackDamaged(t *testing.T) {
	need(t, "bzip2", "xz")
	c := Content{Name: "hello", Version: "1.0", SourceDir: sources(t), Builds: builds(t)}
	for _, suffix := range []string{".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2", ".x86"} {
		file := filepath.Join(t.TempDir(), "a"+strings.Replace(suffix, ".x86", ".tar", 1))
		must(t, Write(t.Context(), runner(), file, c))
		if suffix == ".x86" {
			output(t, "xz", "--x86", "--lzma2", file)
			file += ".xz"
		}
		whole, err := os.ReadFile(file)
		must(t, err)
		for _, n := range []int{1, 100, len(whole) / 2, len(whole) - 1} {
			if suffix == ".tar" && n == len(whole)-1 {
				n -= 1024 // the end of the end marker matters to nobody
			}
			dir, err := unpackBytes(t, whole[:n])
			if err == nil {
				t.Errorf("%s, %d bytes of %d: Unpack() = nil; want an error", suffix, n, len(whole))
				continue
			}
			wantCode(t, suffix, err, exit.BadArchive)
			gone(t, dir)
		}
		if suffix == ".tar" {
			continue // nothing but headers has a sum there
		}
		broken := bytes.Clone(whole)
		broken[len(broken)/2] ^= 0x10
		if dir, err := unpackBytes(t, broken); err == nil {
			t.Errorf("%s with a wrong bit: Unpack() = nil; want an error", suffix)
		} else {
			gone(t, dir)
		}
	}
}

func TestUnpackGarbage(t *testing.T) {
	for what, data := range map[string]string{
		"nothing":       "",
		"text":          strings.Repeat("not an archive\n", 100),
		"a little text": "x",
		"gzip of text":  "\x1f\x8b garbage garbage",
		"xz of text":    xzMagic + " garbage garbage",
		"zstd of text":  "\x28\xb5\x2f\xfd garbage garbage",
		"bzip2 of text": "BZh9 garbage garbage",
	} {
		dir, err := unpackBytes(t, []byte(data))
		if err == nil {
			t.Errorf("%s: Unpack() = nil; want an error", what)
		}
		wantCode(t, what, err, exit.BadArchive)
		gone(t, dir)
	}
}

func TestUnpackPlaces(t *testing.T) {
	tmp := t.TempDir()
	good := put(t, filepath.Join(tmp, "good.tar"), string(tarball(t, reg("a"))), 0o644)
	full := filepath.Join(tmp, "full")
	put(t, filepath.Join(full, "mine"), "", 0o644)
	missing := filepath.Join(tmp, "missing.tar")
	wantCode(t, "missing archive", Unpack(t.Context(), runner(), missing, nil, filepath.Join(tmp, "a")), exit.NoSource)
	wantCode(t, "archive is a directory", Unpack(t.Context(), runner(), full, nil, filepath.Join(tmp, "a")), exit.NoSource)
	gone(t, filepath.Join(tmp, "a"))
	if err := Unpack(t.Context(), runner(), good, nil, full); err == nil {
		t.Error("Unpack into a directory with files = nil; want an error")
	}
	same(t, "directory with files", names(look(t, full)), map[string]string{"mine": ""})
	empty := filepath.Join(tmp, "empty")
	must(t, os.Mkdir(empty, 0o755))
	must(t, Unpack(t.Context(), runner(), good, nil, empty))
	same(t, "empty directory", names(look(t, empty)), map[string]string{"a": ""})
}

func TestUnpackStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	data := tarball(t, reg("a"), tar.Header{Typeflag: tar.TypeReg, Name: "b", Size: 1 << 20})
	in := io.MultiReader(bytes.NewReader(data[:4096]), stopper(cancel), bytes.NewReader(data[4096:]))
	dir := filepath.Join(t.TempDir(), "out")
	if err := Unpack(ctx, runner(), "-", in, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack() = %v; want %v", err, context.Canceled)
	}
	gone(t, dir)
}

// stopper cancels something when the reading comes to it.
type stopper context.CancelFunc

func (s stopper) Read([]byte) (int, error) { s(); return 0, io.EOF }

func FuzzUnpack(f *testing.F) {
	f.Add(tarball(f, reg("a/b"), folder("c"), link("c/l", "../a/b"), hard("h", "a/b")))
	f.Add(tarball(f, link("a/b/up", "../.."), reg("a/b/up/x")))
	f.Add(tarball(f, reg("../x"), reg("/x")))
	f.Add(tarball(f, link("l", "l2/../x")))
	f.Add(gzipOf(f, tarball(f, reg("a"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		if detect(data) == xzed {
			t.Skip("the business of xz")
		}
		u := &unpacker{limits: limits{members: 50, bytes: 1 << 20, name: 200, depth: 10}, run: runner()}
		dir := filepath.Join(t.TempDir(), "out")
		err := u.unpack(t.Context(), "-", bytes.NewReader(data), dir)
		top, readErr := os.ReadDir(filepath.Dir(dir))
		must(t, readErr)
		if err != nil {
			if len(top) != 0 {
				t.Fatalf("%d entries after %v; want none", len(top), err)
			}
			return
		}
		if len(top) != 1 {
			t.Fatalf("%d entries beside the directory", len(top)-1)
		}
		checkSafe(t, dir)
	})
}

// checkSafe makes sure that nothing unpacked leads out of dir or has
// permissions that it may not have.
func checkSafe(t *testing.T, dir string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	must(t, filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		st, err := os.Lstat(file)
		must(t, err)
		switch mode := st.Mode(); {
		case mode.IsRegular(), mode.IsDir():
			if mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky|0o022) != 0 {
				t.Errorf("%s has the mode %v", file, mode)
			}
		case mode&fs.ModeSymlink != 0:
			// The judge of links is the library: it follows each of them.
			rel, err := filepath.Rel(dir, file)
			must(t, err)
			if _, err := root.Stat(rel); err != nil && strings.Contains(err.Error(), "escapes") {
				t.Errorf("%s: %v", file, err)
			}
		default:
			t.Errorf("%s is %v", file, mode)
		}
		return nil
	}))
}
