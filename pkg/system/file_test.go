package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var write = testkit.WriteMode

func names(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestWriteFile(t *testing.T) {
	for _, mode := range []fs.FileMode{0o644, 0o600, 0o755, 0o400} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		for _, text := range []string{"first\n", "", "second, and longer than the first\n"} {
			if err := WriteFile(path, []byte(text), mode); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != text {
				t.Errorf("WriteFile(%q) left %q, %v", text, got, err)
			}
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != mode {
			t.Errorf("WriteFile(mode %v) left %v", mode, st.Mode())
		}
		if got := names(t, dir); got != "file" {
			t.Errorf("WriteFile left %q in the directory; want the file alone", got)
		}
	}
}

// A reader sees one of the contents, whole.
func TestWriteFileIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	contents := [][]byte{bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 70_000)}
	if err := WriteFile(path, contents[0], 0o644); err != nil {
		t.Fatal(err)
	}
	whileReading(t, func() error {
		got, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
			return errors.New("half a file")
		}
		return err
	}, func(i int) error { return WriteFile(path, contents[i%2], 0o644) })
}

// whileReading makes 50 changes while read looks on.
func whileReading(t *testing.T, read func() error, change func(i int) error) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if err := read(); err != nil {
				t.Errorf("a reader saw: %v", err)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range 50 {
		if err := change(i); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	wg.Wait()
}

// What is in the way of a file stays, and nothing else is left behind.
func TestWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "taken/inside"), "kept", 0o644)
	if err := WriteFile(filepath.Join(dir, "taken"), []byte("x"), 0o644); err == nil {
		t.Error("WriteFile over a directory succeeded")
	}
	if got := names(t, dir) + "/" + names(t, filepath.Join(dir, "taken")); got != "taken/inside" {
		t.Errorf("after a failure there is %q; want taken/inside", got)
	}
	err := WriteFile(filepath.Join(dir, "none/file"), nil, 0o644)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile in a missing directory = %v; want that it does not exist", err)
	}
}

// A link is replaced, not followed.
func TestWriteFileOverLink(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "target"), "target", 0o644)
	if err := os.Symlink("target", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "link"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "target")); string(got) != "target" {
		t.Errorf("the target became %q", got)
	}
	if st, err := os.Lstat(filepath.Join(dir, "link")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("the link became %v, %v; want a file", st.Mode(), err)
	}
}

func TestStageFile(t *testing.T) {
	dir := t.TempDir()
	src, path := filepath.Join(dir, "src"), filepath.Join(dir, "to", "foo.ko")
	write(t, src, "module", 0o600)
	write(t, path, "old", 0o644)
	tmp, err := StageFile(t.Context(), path, src, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(tmp) != filepath.Dir(path) || !strings.HasPrefix(filepath.Base(tmp), StagePrefix+"foo.ko.") {
		t.Errorf("StageFile = %s; want a hidden name beside %s", tmp, path)
	}
	got, err := os.ReadFile(tmp)
	st, statErr := os.Stat(tmp)
	if err != nil || statErr != nil || string(got) != "module" || st.Mode() != 0o644 {
		t.Errorf("the staged file is %q, %v, %v", got, st.Mode(), err)
	}
	if old, _ := os.ReadFile(path); string(old) != "old" {
		t.Errorf("StageFile changed the file to %q", old)
	}
	if _, err := StageFile(t.Context(), path, filepath.Join(dir, "none"), 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("StageFile of nothing = %v", err)
	}
	if _, err := StageFile(t.Context(), path, dir, 0o644); err == nil {
		t.Error("StageFile of a directory succeeded")
	}
	if got := len(strings.Fields(names(t, filepath.Dir(path)))); got != 2 {
		t.Errorf("%d files are left; want the old and the staged one", got)
	}
}

func TestReplaceLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "link")
	for _, target := range []string{"1.0/k/a", "2.0/k/a", "/dangling"} {
		if err := ReplaceLink(path, target); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(path); got != target {
			t.Errorf("ReplaceLink(%q) left %q, %v", target, got, err)
		}
	}
	if got := names(t, dir); got != "link" {
		t.Errorf("ReplaceLink left %q", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceLink(filepath.Join(dir, "dir"), "x"); err == nil {
		t.Error("ReplaceLink over a directory succeeded")
	}
	if got := names(t, dir); got != "dir link" {
		t.Errorf("after a failure there is %q; want dir link", got)
	}
}

// There is no moment without a link, and leftovers of killed processes with
// the same name are no obstacle.
func TestReplaceLinkIsAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "link")
	targets := []string{"a", "b"}
	if err := ReplaceLink(path, targets[1]); err != nil {
		t.Fatal(err)
	}
	whileReading(t, func() error {
		_, err := os.Readlink(path)
		return err
	}, func(i int) error { return ReplaceLink(path, targets[i%2]) })
}

func TestRemoveEmptyDirs(t *testing.T) {
	tests := []struct {
		name, dir, stop string
		want            string // what is left of a/b/c, a/full/d and other/e
	}{
		{"up to stop", "a/b/c", "a", "a a/full a/full/d a/full/d/file other other/e"},
		{"stop itself", "a", "a", "a a/b a/b/c a/full a/full/d a/full/d/file other other/e"},
		{"not empty", "a/full/d", "a", "a a/b a/b/c a/full a/full/d a/full/d/file other other/e"},
		{"not below stop", "other/e", "a", "a a/b a/b/c a/full a/full/d a/full/d/file other other/e"},
		{"sibling with the same beginning", "other/e", "oth", "a a/b a/b/c a/full a/full/d a/full/d/file other other/e"},
		{"missing", "a/none", "a", "a a/b a/b/c a/full a/full/d a/full/d/file other other/e"},
		{"parents of a full one stay", "a/b/c", "", "a a/full a/full/d a/full/d/file other other/e"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, d := range []string{"a/b/c", "other/e"} {
				if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write(t, filepath.Join(root, "a/full/d/file"), "", 0o644)
			RemoveEmptyDirs(filepath.Join(root, test.dir), filepath.Join(root, test.stop))
			if got := strings.Join(walk(t, root), " "); got != test.want {
				t.Errorf("RemoveEmptyDirs(%s, %s) left %s; want %s", test.dir, test.stop, got, test.want)
			}
		})
	}
}

func walk(t testing.TB, root string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(root, path); rel != "." {
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestCopyTree(t *testing.T) {
	base := t.TempDir()
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	then := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	write(t, filepath.Join(src, "plain"), "text", 0o644)
	write(t, filepath.Join(src, "dir/script"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(src, "dir/secret"), "", 0o400)
	write(t, filepath.Join(src, "closed/x"), "x", 0o644)
	for link, target := range map[string]string{"link": "dir/script", "dangling": "/nowhere", "up": ".."} {
		if err := os.Symlink(target, filepath.Join(src, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"plain", "dir/script", "dir", "closed"} {
		if err := os.Chtimes(filepath.Join(src, p), then, then); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(src, "closed"), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(src, "closed"), 0o700) })
	// The top is reached through a link; it must not become one.
	if err := os.Symlink("src", filepath.Join(base, "top")); err != nil {
		t.Fatal(err)
	}
	// What is in the way of a file goes; what else is there stays.
	write(t, filepath.Join(dst, "plain"), "old", 0o600)
	write(t, filepath.Join(dst, "dir/extra"), "stays", 0o644)
	if err := CopyTree(t.Context(), dst, filepath.Join(base, "top"), false); err != nil {
		t.Fatal(err)
	}
	want := "closed closed/x dangling dir dir/extra dir/script dir/secret link plain up"
	if got := strings.Join(walk(t, dst), " "); got != want {
		t.Errorf("the copy holds %s; want %s", got, want)
	}
	for path, mode := range map[string]fs.FileMode{"plain": 0o644, "dir/script": 0o755, "dir/secret": 0o400, "closed": 0o700 | fs.ModeDir} {
		if st, err := os.Lstat(filepath.Join(dst, path)); err != nil || st.Mode() != mode {
			t.Errorf("%s has mode %v, %v; want %v", path, st.Mode(), err, mode)
		}
	}
	for _, path := range []string{"plain", "dir/script", "dir", "closed"} {
		if st, err := os.Lstat(filepath.Join(dst, path)); err != nil || !st.ModTime().Equal(then) {
			t.Errorf("%s has time %v, %v; want %v", path, st.ModTime(), err, then)
		}
	}
	if got, err := os.Readlink(filepath.Join(dst, "dangling")); got != "/nowhere" {
		t.Errorf("the link leads to %q, %v; want /nowhere", got, err)
	}
	if got, _ := os.ReadFile(filepath.Join(dst, "plain")); string(got) != "text" {
		t.Errorf("plain is %q; want text", got)
	}
}

// A link in the way is replaced, not written through.
func TestCopyTreeOverLink(t *testing.T) {
	base := t.TempDir()
	write(t, filepath.Join(base, "src/file"), "new", 0o644)
	write(t, filepath.Join(base, "outside"), "kept", 0o644)
	if err := os.Mkdir(filepath.Join(base, "dst"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../outside", filepath.Join(base, "dst/file")); err != nil {
		t.Fatal(err)
	}
	if err := CopyTree(t.Context(), filepath.Join(base, "dst"), filepath.Join(base, "src"), false); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(base, "outside")); string(got) != "kept" {
		t.Errorf("the file outside became %q", got)
	}
}

// A link in the copy is not a directory to copy into.
func TestCopyTreeThroughLink(t *testing.T) {
	for _, at := range []string{"dst", "dst/dir"} {
		base := t.TempDir()
		write(t, filepath.Join(base, "src/dir/file"), "new", 0o644)
		if err := os.MkdirAll(filepath.Join(base, "outside"), 0o755); err != nil {
			t.Fatal(err)
		}
		if at != "dst" {
			if err := os.Mkdir(filepath.Join(base, "dst"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join(base, "outside"), filepath.Join(base, at)); err != nil {
			t.Fatal(err)
		}
		err := CopyTree(t.Context(), filepath.Join(base, "dst"), filepath.Join(base, "src"), false)
		if entries, _ := os.ReadDir(filepath.Join(base, "outside")); err == nil || len(entries) > 0 {
			t.Errorf("%s: CopyTree = %v, and %v is outside; want an error and nothing", at, err, entries)
		}
	}
}

func TestCopyTreeOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	base := t.TempDir()
	src := filepath.Join(base, "src")
	write(t, filepath.Join(src, "dir/file"), "", 0o644)
	if err := os.Symlink("dir", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"dir", "dir/file", "link"} {
		if err := os.Lchown(filepath.Join(src, p), 1234, 1235); err != nil {
			t.Fatal(err)
		}
	}
	for _, keep := range []bool{false, true} {
		dst := filepath.Join(t.TempDir(), "dst")
		if err := CopyTree(t.Context(), dst, src, keep); err != nil {
			t.Fatal(err)
		}
		want := uint32(0)
		if keep {
			want = 1234
		}
		for _, p := range []string{"dir", "dir/file", "link"} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(dst, p), &st); err != nil || st.Uid != want {
				t.Errorf("CopyTree(keepOwner %v): %s belongs to %d, %v; want %d", keep, p, st.Uid, err, want)
			}
		}
	}
}

func TestCopyTreeRefuses(t *testing.T) {
	make := map[string]func(path string) error{
		"pipe":   func(p string) error { return unix.Mkfifo(p, 0o644) },
		"socket": func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o644, 0) },
	}
	if os.Geteuid() == 0 {
		make["device"] = func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))) }
	}
	for what, mk := range make {
		src := t.TempDir()
		if err := mk(filepath.Join(src, "odd")); errors.Is(err, unix.EPERM) {
			t.Logf("no %s can be made here", what)
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		err := CopyTree(t.Context(), filepath.Join(t.TempDir(), "dst"), src, false)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(src, "odd")) {
			t.Errorf("CopyTree of a %s = %v; want an error that names it", what, err)
		}
	}
	if err := CopyTree(t.Context(), t.TempDir(), filepath.Join(t.TempDir(), "none"), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CopyTree of nothing = %v", err)
	}
}

func TestFileKinds(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "", 0o644)
	write(t, filepath.Join(dir, "script"), "", 0o710)
	for link, target := range map[string]string{"to-dir": ".", "to-file": "file", "to-script": "script", "dangling": "none"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][3]bool{
		".": {true, false, false}, "file": {false, true, false}, "script": {false, true, true}, "pipe": {}, "none": {},
		"to-dir": {true, false, false}, "to-file": {false, true, false}, "to-script": {false, true, true}, "dangling": {},
	} {
		p := filepath.Join(dir, name)
		if got := [3]bool{IsDir(p), IsFile(p), IsExecutable(p)}; got != want {
			t.Errorf("IsDir, IsFile, IsExecutable(%s) = %v; want %v", name, got, want)
		}
	}
}

// Whoever owns the sources cannot have root copy what they may not read, by a
// link in the place of a file or of a directory above it.
func TestCopyTreeRace(t *testing.T) {
	base := t.TempDir()
	src := filepath.Join(base, "src")
	write(t, filepath.Join(base, "secret/file"), "secret", 0o600)
	write(t, filepath.Join(src, "dir/file"), "plain", 0o644)
	links := []string{filepath.Join(base, "toFile"), filepath.Join(base, "toDir")}
	for i, target := range []string{"../../secret/file", "../secret"} {
		if err := os.Symlink(target, links[i]); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for ctx.Err() == nil {
			for i, path := range []string{filepath.Join(src, "dir/file"), filepath.Join(src, "dir")} {
				for range 2 {
					unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, links[i], unix.RENAME_EXCHANGE)
				}
			}
		}
	})
	for i := range 500 {
		dst := filepath.Join(base, "dst", fmt.Sprint(i))
		CopyTree(t.Context(), dst, src, false) // may well fail
		if got, _ := os.ReadFile(filepath.Join(dst, "dir/file")); string(got) == "secret" {
			if st, err := os.Lstat(filepath.Join(dst, "dir")); err == nil && st.IsDir() {
				if st, err := os.Lstat(filepath.Join(dst, "dir/file")); err == nil && st.Mode().IsRegular() {
					t.Errorf("try %d has copied what the link leads to", i)
					break
				}
			}
		}
	}
	cancel()
	swapper.Wait()
}

// The top cannot be swapped for a link to elsewhere, either.
func TestCopyTreeTopLink(t *testing.T) {
	base := t.TempDir()
	write(t, filepath.Join(base, "secret/file"), "secret", 0o600)
	write(t, filepath.Join(base, "home/x"), "", 0o644)
	if err := os.Symlink("../secret", filepath.Join(base, "home/src")); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(base, "dst")
	if err := CopyTree(t.Context(), dst, filepath.Join(base, "home/src"), false); err == nil || IsDir(dst) {
		t.Errorf("CopyTree through a link = %v; want an error and nothing", err)
	}
}

func TestCopyStops(t *testing.T) {
	src := t.TempDir()
	f, err := os.Create(filepath.Join(src, "make.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err != nil {
		t.Skip(err)
	}
	stop := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	dst := t.TempDir()
	go func() {
		for { // as soon as something has been copied
			if st, err := os.Stat(filepath.Join(dst, "make.log")); err == nil && st.Size() > 0 {
				cancel(stop)
				return
			}
		}
	}()
	if err := CopyTree(ctx, dst, src, false); !errors.Is(err, stop) {
		t.Errorf("CopyTree = %v; want %v", err, stop)
	}
}

// Modes for everybody do not survive a copy, and neither do names that are not
// UTF-8 keep anything from being copied.
func TestCopyTreeModes(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "dst")
	write(t, filepath.Join(src, "d\xe4\xff/file"), "text", 0o644)
	for name, mode := range map[string]uint32{"d\xe4\xff/file": 0o6777, "d\xe4\xff": 0o1777} {
		if err := unix.Chmod(filepath.Join(src, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := CopyTree(t.Context(), dst, src, true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"d\xe4\xff/file": 0o755, "d\xe4\xff": 0o755 | fs.ModeDir} {
		if st, err := os.Lstat(filepath.Join(dst, name)); err != nil || st.Mode() != want {
			t.Errorf("%q is %v, %v; want %v", name, st, err, want)
		}
	}
}

// A copied program can be run at once, whatever else is started meanwhile.
func TestCopyTreeRuns(t *testing.T) {
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "script"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	run := NewRunner(ThisHost(nil))
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				run.Run(ctx, Cmd{Argv: []string{"true"}})
			}
		})
	}
	for i := range 200 {
		dst := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := CopyTree(t.Context(), dst, src, true); err != nil {
			t.Fatal(err)
		}
		if err := run.Run(ctx, Cmd{Argv: []string{filepath.Join(dst, "script")}}); err != nil {
			t.Errorf("copy %d: %v", i, err)
			break
		}
	}
	cancel()
	others.Wait()
}

func TestReadRegular(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/self/limits") // of size 0, as far as anybody says
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path  string
		limit int64
		want  string
		err   error
	}{
		{file("empty", ""), 10, "", nil},
		{file("ten", "0123456789"), 10, "0123456789", nil},
		{file("eleven", "0123456789a"), 10, "", errAny},
		{file("large", strings.Repeat("x", 100_000)), 1 << 20, strings.Repeat("x", 100_000), nil},
		{"/proc/self/limits", 1 << 20, string(stat), nil},
		{"/proc/self/limits", 10, "", errAny},
		{filepath.Join(dir, "none"), 10, "", fs.ErrNotExist},
		{filepath.Join(dir, "ten/x"), 10, "", unix.ENOTDIR},
		{dir, 10, "", errAny},
		{pipe, 10, "", errAny},
	} {
		got, err := ReadRegular(test.path, test.limit)
		if string(got) != test.want || (err == nil) != (test.err == nil) || test.err != errAny && !errors.Is(err, test.err) {
			t.Errorf("ReadRegular(%s, %d) = %.20q, %v; want %.20q, %v", test.path, test.limit, got, err, test.want, test.err)
		}
		if err != nil && !strings.Contains(err.Error(), test.path) {
			t.Errorf("%v does not name the file", err)
		}
	}
}

var errAny = errors.New("any error")
