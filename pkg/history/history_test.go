package history

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

func writer(t *testing.T) *tree.Writer {
	t.Helper()
	w, err := tree.Open(system.Root{Dir: t.TempDir()}).Lock(t.Context(), "test", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Unlock("") })
	return w
}

// TestBounds: the oldest records go, and numbers are never used again.
func TestBounds(t *testing.T) {
	w := writer(t)
	for range maxRecords + 5 {
		if err := (&Record{Verb: "install"}).Save(w); err != nil {
			t.Fatal(err)
		}
	}
	list, damaged, err := List(w.Tree)
	if err != nil || len(damaged) > 0 || len(list) != maxRecords || list[0].Run != maxRecords+5 || list[maxRecords-1].Run != 6 {
		t.Fatalf("List() = %d records, %v, %v", len(list), damaged, err)
	}
	if _, err := Read(w.Tree, 5); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read(5) = %v; want it deleted", err)
	}
	large := &Record{Changes: []*Change{{Module: "foo"}}}
	for range maxRecord / 8 {
		large.Steps = append(large.Steps, Step{Step: "build"})
	}
	if err := large.Save(w); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(w.Tree, large.Run); err != nil || len(got.Steps) > 0 || len(got.Changes) != 1 {
		t.Errorf("a large record = %+v, %v; want its changes", got, err)
	}
}

// TestDamaged: a damaged record hides no other.
func TestDamaged(t *testing.T) {
	w := writer(t)
	for range 3 {
		if err := (&Record{Began: time.Unix(1, 0)}).Save(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path(w.Tree, 2), bytes.Repeat([]byte{0}, 100), 0o644); err != nil {
		t.Fatal(err)
	}
	list, damaged, err := List(w.Tree)
	if err != nil || len(list) != 2 || !slices.Equal(damaged, []int{2}) {
		t.Errorf("List() = %d records, damaged %v, %v", len(list), damaged, err)
	}
}

// TestPublic: values of variables are not recorded, however they are given.
func TestPublic(t *testing.T) {
	got := strings.Join(Public([]string{"install", "foo/1.0", "--env", "KEY=secret", "--env=KEY=secret", "-k", "6.1", "--kernelver=6.1", "--directive=MAKE=x secret", "A=secret=b"}), " ")
	want := "install foo/1.0 --env KEY=... --env=KEY=... -k 6.1 --kernelver=6.1 --directive=MAKE=... A=..."
	if got != want {
		t.Errorf("Public() = %q; want %q", got, want)
	}
}
