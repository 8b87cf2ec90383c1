package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// openIn opens the place of a confined build that belongs to this user.
func openIn(t *testing.T, tr *tree.Writer) *scratch {
	t.Helper()
	s, err := openScratch(NewPool("1", 1, false), tr, foo, kernelA, true, tr.ScratchDir(foo), os.Geteuid())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is left of a build that failed is there until the next one begins, and
// its log for longer.
func TestScratchLeft(t *testing.T) {
	tr := attemptsTree(t)
	s := openIn(t, tr)
	put(t, s.real+"/source.c", "old")
	put(t, s.log, "DKMS (dkms-3.4.3) make.log for foo/1.0 for kernel "+kernelA.String()+"\n")
	if err := s.close(true); err != nil {
		t.Fatal(err)
	}
	if !system.IsFile(tr.ScratchDir(foo)+"/source.c") || !system.IsFile(tr.ScratchLog(foo)) {
		t.Error("the sources or the log of a failed build are not kept")
	}
	if err := openIn(t, tr).close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(tr.ScratchDir(foo)); err == nil {
		t.Error("what a build has left that failed outlives one that did not")
	}
	if _, err := os.Lstat(tr.PrivateDir(foo, kernelA)); err == nil {
		t.Error("the private directory is left")
	}
	if list := Attempts(tr.Tree, foo); len(list) != 1 || !list[0].Failed {
		t.Errorf("Attempts = %v; want the log of the first", list)
	}
}

// A build makes what it likes of the name of its log: the log is kept.
func TestScratchLogName(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a directory": func(path string) error { return os.MkdirAll(path+"/deep", 0o755) },
		"a link":      func(path string) error { return os.Symlink("/etc/hostname", path) },
		"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o644) },
	} {
		tr := attemptsTree(t)
		s := openIn(t, tr)
		put(t, s.log, "the log")
		if err := make(s.real + "/make.log"); err != nil {
			t.Fatal(err)
		}
		err := s.close(true)
		if st, statErr := os.Lstat(tr.ScratchLog(foo)); err != nil || statErr != nil || !st.Mode().IsRegular() {
			t.Errorf("%s: close = %v, and the log is %v, %v", name, err, st, statErr)
		}
	}
}

// A log that comes with the sources and leads to another file is not followed.
func TestOpenLogLink(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/victim", "kept")
	if err := os.Symlink("victim", dir+"/make.log"); err != nil {
		t.Fatal(err)
	}
	l, err := openLog(dir+"/make.log", "title", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	victim, _ := os.ReadFile(dir + "/victim")
	log, _ := os.ReadFile(dir + "/make.log")
	if string(victim) != "kept" || !strings.HasPrefix(string(log), "title\n") {
		t.Errorf("the victim is %q and the log %q", victim, log)
	}
}

// The admin's patches go into the package's directory of patches and nowhere
// else.
func TestPatchesThroughLink(t *testing.T) {
	tr := attemptsTree(t)
	sources, patches, victim := t.TempDir(), t.TempDir(), t.TempDir()
	put(t, patches+"/sub/a.patch", "patch")
	if err := os.Symlink(victim, sources+"/patches"); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, tr)
	defer s.close(false)
	err := s.fill(t.Context(), sources, patches)
	if entries, _ := os.ReadDir(victim); err == nil || len(entries) > 0 {
		t.Errorf("fill = %v, and %v is outside; want an error and nothing", err, entries)
	}
}

// A file in the way is one error, and not one for every step.
func TestOpenScratchError(t *testing.T) {
	tr := attemptsTree(t)
	if err := os.RemoveAll(tr.VersionDir(foo)); err != nil {
		t.Fatal(err)
	}
	put(t, tr.VersionDir(foo), "")
	for _, confined := range []bool{true, false} {
		_, err := openScratch(NewPool("1", 1, false), tr, foo, kernelA, confined, tr.ScratchDir(foo), os.Geteuid())
		if !errors.Is(err, syscall.ENOTDIR) || strings.Contains(err.Error(), "\n") {
			t.Errorf("openScratch = %v; want one error", err)
		}
	}
}

// Directories deeper than a path may be long are given away all the same.
func TestOwnDeep(t *testing.T) {
	top := t.TempDir()
	name := strings.Repeat("d", 200)
	dir, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := dir.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		below, err := dir.OpenRoot(name)
		if err != nil {
			t.Fatal(err)
		}
		dir.Close()
		dir = below
	}
	dir.Close()
	if err := own(top, os.Geteuid()); err != nil {
		t.Errorf("own = %v; want nil", err)
	}
}
