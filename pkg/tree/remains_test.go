package tree

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dkms/pkg/system"
)

func TestRemains(t *testing.T) {
	tr := &Writer{Tree: Open(system.Root{State: t.TempDir()})}
	id := ID{"foo", "1.0"}
	if err := tr.Add(id, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	a, b := Target{"6.1.0-56-amd64", "x86_64"}, Target{"6.9", "aarch64"}
	for _, k := range []Target{a, b} {
		if err := tr.RecordFailure(id, k, Failure{Message: "m"}); err != nil {
			t.Fatal(err)
		}
		if err := tr.Activate(id, k); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"foo/kernel-", "foo/kernel-6.1", "foo/1.0/.failure-x.json", "foo/1.0/.failure-6.1-x86_64"} {
		if err := os.WriteFile(filepath.Join(tr.Dir(), name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := tr.Failures(id); !slices.Equal(got, []Target{a, b}) {
		t.Errorf("Failures = %v; want %v and %v", got, a, b)
	}
	if got := tr.ActiveTargets("foo"); !slices.Equal(got, []Target{a, b}) {
		t.Errorf("ActiveTargets = %v; want %v and %v", got, a, b)
	}
	if got := tr.ActiveTargets("bar"); len(got) > 0 {
		t.Errorf("ActiveTargets(bar) = %v; want none", got)
	}
}

func TestHeld(t *testing.T) {
	tr := &Writer{Tree: Open(system.Root{State: t.TempDir()})}
	if tr.Held() {
		t.Error("a tree without a lock is held")
	}
	w, err := tr.Lock(t.Context(), "test", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if !tr.Held() {
		t.Error("a tree with a writer is not held")
	}
	w.Unlock("")
	if tr.Held() {
		t.Error("the tree is held after its writer has left")
	}
}

// A name may hold what patterns of file names are made of.
func TestFailuresBrackets(t *testing.T) {
	tr := &Writer{Tree: Open(system.Root{Dir: filepath.Join(t.TempDir(), "a[b")})}
	for _, id := range []ID{{"foo", "1[0"}, {"f*o", "[1]"}} {
		mkdir(t, tr.VersionDir(id))
		must(t, tr.RecordFailure(id, target, Failure{Message: "no"}))
		must(t, tr.Activate(id, target))
		if got := tr.Failures(id); len(got) != 1 || got[0] != target {
			t.Errorf("%s: Failures = %v; want %v", id, got, target)
		}
		if got := tr.ActiveTargets(id.Name); len(got) != 1 || got[0] != target {
			t.Errorf("%s: ActiveTargets = %v; want %v", id, got, target)
		}
	}
	must(t, tr.MarkPending(target))
	if got := tr.Pending(); len(got) != 1 || got[0] != target {
		t.Errorf("Pending = %v; want %v", got, target)
	}
}

func TestKeptInTreeWithBrackets(t *testing.T) {
	tr := Open(system.Root{State: filepath.Join(t.TempDir(), "state[1]")})
	k := Target{"6.1.0-[x]", "x86_64"}
	mkdir(t, filepath.Join(tr.Dir(), keptName, "foo", k.Kernel, k.Arch))
	if got := tr.KeptTargets(); len(got) != 1 || got[0] != k {
		t.Errorf("KeptTargets = %v; want %v", got, k)
	}
	must(t, (&Writer{Tree: tr}).DropKept(k))
	if got := tr.KeptTargets(); len(got) != 0 {
		t.Errorf("after DropKept, KeptTargets = %v", got)
	}
}
