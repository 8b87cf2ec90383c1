package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

var (
	foo     = tree.ID{Name: "foo", Version: "1.0"}
	kernelA = tree.Target{Kernel: "6.1.0-56-amd64", Arch: "x86_64"}
	kernelB = tree.Target{Kernel: "6.9", Arch: "x86_64"}
)

func attemptsTree(t *testing.T) *tree.Writer {
	t.Helper()
	tr, err := tree.Open(system.Root{State: t.TempDir()}).Lock(t.Context(), "test", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Unlock("") })
	if err := tr.Add(foo, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return tr
}

// fail leaves the log of a failed build in the scratch directory.
func fail(t *testing.T, tr *tree.Writer, k tree.Target, at time.Time) {
	t.Helper()
	text := fmt.Sprintf("came with the sources\nDKMS (dkms-3.4.3) make.log for %s for kernel %s\nat %d\n", foo, k, at.Unix())
	if err := os.WriteFile(tr.ScratchLog(foo), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(tr.ScratchLog(foo), at, at); err != nil {
		t.Fatal(err)
	}
}

func TestKeepAttempt(t *testing.T) {
	tr := attemptsTree(t)
	if err := keepAttempt(tr, foo); err != nil || len(Attempts(tr.Tree, foo)) > 0 {
		t.Fatalf("keepAttempt without a log: %v, %v", err, Attempts(tr.Tree, foo))
	}
	base := time.Unix(1_800_000_000, 0)
	for i := range 8 {
		fail(t, tr, kernelA, base.Add(time.Duration(i/2)*time.Second)) // two a second
		if err := keepAttempt(tr, foo); err != nil {
			t.Fatal(err)
		}
	}
	fail(t, tr, kernelB, base.Add(-time.Hour))
	record := tree.Failure{Time: base, Code: 10, Message: "m", Hint: "see " + tr.ScratchLog(foo), Log: tr.ScratchLog(foo)}
	if err := tr.RecordFailure(foo, kernelB, record); err != nil {
		t.Fatal(err)
	}
	if got := Attempts(tr.Tree, foo); len(got) != 6 || got[5].Path != tr.ScratchLog(foo) || got[5].Target != kernelB || !got[5].Failed {
		t.Errorf("Attempts = %v; want five for %s and the one in the scratch directory", got, kernelA)
	}
	if err := keepAttempt(tr, foo); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(tr.VersionDir(foo), ".log", "6.9-x86_64-20270115T070000Z.log")
	f := tr.Failure(foo, kernelB)
	if f.Log != kept || f.Hint != "see "+kept || !system.IsFile(kept) {
		t.Errorf("the record names %s, %q; want %s", f.Log, f.Hint, kept)
	}
	got := Attempts(tr.Tree, foo)
	if len(got) != 6 || !got[0].Time.Equal(base.Add(3*time.Second)) || got[0].Target != kernelA || got[5].Path != kept {
		t.Errorf("Attempts = %v; want the newest five for %s, newest first, and %s", got, kernelA, kept)
	}
	DropAttempts(tr, foo, kernelA)
	if got := Attempts(tr.Tree, foo); len(got) != 1 || got[0].Target != kernelB {
		t.Errorf("Attempts after DropAttempts = %v; want that for %s", got, kernelB)
	}
	DropAttempts(tr, foo, kernelB)
	if _, err := os.Stat(filepath.Dir(kept)); err == nil {
		t.Error("DropAttempts leaves an empty directory")
	}
}

// A log that came with the sources is none of ours.
func TestForeignLog(t *testing.T) {
	tr := attemptsTree(t)
	for _, text := range []string{"", "no title\n", "DKMS (dkms-3.4.3) make.log for bar/1.0 for kernel 6.9 (x86_64)\n", "DKMS (x) make.log for foo/1.0 for kernel .. (x86_64)\n"} {
		if err := os.WriteFile(tr.ScratchLog(foo), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := keepAttempt(tr, foo); err != nil || len(Attempts(tr.Tree, foo)) > 0 || !system.IsFile(tr.ScratchLog(foo)) {
			t.Errorf("%q is taken for a log of a build: %v, %v", text, err, Attempts(tr.Tree, foo))
		}
	}
	for _, name := range []string{"x.log", "6.9-x86_64.log", "6.9-x86_64-yesterday.log", "6.9-20270115T080000Z.log", "dir-x86_64-20270115T080000Z.log/x"} {
		path := filepath.Join(attemptsDir(tr.Tree, foo), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := keptAttempts(tr.Tree, foo); len(got) > 0 {
		t.Errorf("keptAttempts = %v; want none", got)
	}
}

func FuzzTitleTarget(f *testing.F) {
	f.Add("DKMS (dkms-3.4.3) make.log for foo/1.0 for kernel 6.1.0-56-amd64 (x86_64)")
	f.Add("DKMS () make.log for foo/1.0 for kernel  ()")
	f.Fuzz(func(t *testing.T, line string) {
		if k, ok := titleTarget(line, foo); ok && (k.Check() != nil || !strings.Contains(line, foo.String())) {
			t.Errorf("titleTarget(%q) = %v", line, k)
		}
	})
}

func TestHarmless(t *testing.T) {
	for line, want := range map[string]bool{
		"Skipping BTF generation for /x/foo.ko due to unavailability of vmlinux": true,
		"  Skipping BTF generation for foo.ko due to unavailability of vmlinux":  true,
		"warning: the compiler differs from the one used to build the kernel":    true,
		"  The kernel was built by: gcc-12 (Debian 12.2.0-14) 12.2.0":            true,
		"  You are using:           gcc-13":                                      true,
		"make[2]: warning: jobserver unavailable: using -j1.  Add '+' to parent": true,
		"foo.c:1:1: error: Skipping BTF generation for x":                        false,
		"make: *** [Makefile:1: all] Error 2":                                    false,
		"warning: unused variable":                                               false,
		"":                                                                       false,
		"make":                                                                   false,
	} {
		if got := Harmless(line); (got != "") != want {
			t.Errorf("Harmless(%q) = %q; want something: %v", line, got, want)
		}
	}
}
