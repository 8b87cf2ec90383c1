package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/tree"
)

// began is an installation or its undoing that is staged but not journalled.
func began(h *house, s *Set, active string) *transaction {
	h.t.Helper()
	t := newTransaction(h.Tree, s.ID, h.target, active)
	if active == "" {
		m, err := h.Tree.Manifest(s.ID, h.target)
		h.must(err)
		for _, path := range h.installed(s.ID, h.k, m) {
			t.remove(path)
		}
		h.restore(t, h.k.ModuleDir(), func(string) string { return "" })
		return t
	}
	parts, err := h.parts(s)
	h.must(err)
	h.must(h.stage(s, t, parts, scan(h.k.ModuleDir())))
	return t
}

// scenes are what a transaction may meet. Each gives what is to be done.
var scenes = map[string]func(h *house) (s *Set, active string){
	"the first version, over the kernel's own": func(h *house) (*Set, string) {
		h.write(h.in("updates/dkms/a.ko"), "the kernel's a")
		h.write(h.in("kernel/b.ko"), "the kernel's b")
		return h.build(one, "a.ko", "b.ko", "c.ko"), "1"
	},
	"another version": func(h *house) (*Set, string) {
		h.write(h.in("kernel/a.ko"), "the kernel's a")
		h.install(h.build(one, "a.ko", "old.ko"))
		return h.build(two, "a.ko", "new.ko.xz"), "2"
	},
	"uninstall": func(h *house) (*Set, string) {
		h.write(h.in("kernel/a.ko"), "the kernel's a")
		s := h.build(one, "a.ko", "b.ko")
		h.install(s)
		return s, ""
	},
}

// files is the state but for where originals came from, which may be left
// written down.
func (h *house) files() string {
	var list []string
	for line := range strings.SplitSeq(h.state(), "\n") {
		if !strings.Contains(line, ".origin: ") {
			list = append(list, line)
		}
	}
	return strings.Join(list, "\n")
}

// A run that is killed after any of its steps is undone by the next one.
func TestCrashIsUndone(t *testing.T) {
	t.Parallel()
	for name, scene := range scenes {
		for n := 0; ; n++ {
			h := newHouse(t)
			s, active := scene(h)
			before := h.files()
			tr := began(h, s, active)
			if n > len(tr.steps()) {
				break
			}
			h.must(tr.write())
			for _, step := range tr.steps()[:n] {
				h.must(step.apply(t.Context()))
			}
			if !Unfinished(h.Tree.Tree) {
				t.Fatal("there is no journal")
			}
			id, k, err := h.Recover()
			if err != nil || id != s.ID || k != h.target {
				t.Errorf("%s, %d steps: Recover = %v, %v, %v", name, n, id, k, err)
			}
			if got := h.files(); got != before {
				t.Errorf("%s, %d steps: there is\n%s\nwant\n%s", name, n, got, before)
			}
			if Unfinished(h.Tree.Tree) || !strings.Contains(h.said.String(), "is undone") {
				t.Errorf("%s, %d steps: the journal is left, or nothing is said: %s", name, n, h.said)
			}
		}
	}
}

// Between the two names of a file that is being replaced.
func TestCrashBetweenNames(t *testing.T) {
	h := newHouse(t)
	h.install(h.build(one, "a.ko"))
	s := h.build(two, "a.ko")
	before := h.files()
	tr := began(h, s, "2")
	h.must(tr.write())
	h.must(os.Link(tr.Changes[0].Path, tr.Changes[0].Backup))
	_, _, err := h.Recover()
	if got := h.files(); err != nil || got != before {
		t.Errorf("%v, there is\n%s\nwant\n%s", err, got, before)
	}
}

// Once the link has changed, the rest is done by the next run.
func TestCrashIsFinished(t *testing.T) {
	t.Parallel()
	for name, scene := range scenes {
		whole, crashed := newHouse(t), newHouse(t)
		for _, h := range []*house{whole, crashed} {
			s, active := scene(h)
			tr := began(h, s, active)
			h.must(tr.write())
			h.must(tr.apply(t.Context()))
			if active == "" {
				h.must(h.Tree.Deactivate("foo", h.target))
			} else {
				h.must(h.Tree.Activate(s.ID, h.target))
			}
			if h == whole {
				h.must(tr.finish())
				continue
			}
			if _, _, err := h.Recover(); err != nil {
				t.Errorf("%s: Recover = %v", name, err)
			}
			if m, err := h.Tree.Manifest(s.ID, h.target); active != "" && m != nil && (err != nil || len(m.Installed) == 0) {
				t.Errorf("%s: the manifest is %+v, %v", name, m, err)
			}
		}
		plain := func(h *house) string { return strings.ReplaceAll(h.files(), h.Tree.Root().Dir, "") }
		if got, want := plain(crashed), plain(whole); got != want {
			t.Errorf("%s: there is\n%s\nwant\n%s", name, got, want)
		}
		if Unfinished(crashed.Tree.Tree) {
			t.Errorf("%s: the journal is left", name)
		}
	}
}

// An error at the last moment puts everything back, and leaves nothing.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	for name, scene := range scenes {
		h := newHouse(t)
		s, active := scene(h)
		before := h.files()
		no := errors.New("no")
		if err := began(h, s, active).commit(t.Context(), func() error { return no }); !errors.Is(err, no) {
			t.Errorf("%s: commit = %v; want %v", name, err, no)
		}
		if got := h.files(); got != before || Unfinished(h.Tree.Tree) {
			t.Errorf("%s: there is\n%s\nwant\n%s", name, got, before)
		}
	}
}

// A journal that is not ours, or not whole, stops the run and changes nothing.
func TestRecoverRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[]", "null", `{"schema":2}`, `{"schema":"1"}`, strings.Repeat(" ", maxJournal+1)} {
		h := newHouse(t)
		h.install(h.build(one, "a.ko"))
		h.write(journalPath(h.Tree.Tree), text)
		before := h.files()
		if _, _, err := h.Recover(); err == nil || !strings.HasPrefix(err.Error(), journalPath(h.Tree.Tree)+": ") {
			t.Errorf("Recover(%.20q) = %v; want an error that begins with the path", text, err)
		}
		if got := h.files(); got != before {
			t.Errorf("Recover(%.20q) changed something", text)
		}
	}
	h := newHouse(t)
	if _, _, err := h.Recover(); err == nil || Unfinished(h.Tree.Tree) {
		t.Errorf("Recover without a journal = %v", err)
	}
}

// The journal is hidden from the original, and is no module to anybody.
func TestJournalIsHidden(t *testing.T) {
	h := newHouse(t)
	h.install(h.build(one, "a.ko"))
	h.write(journalPath(h.Tree.Tree), "{}")
	if !strings.HasPrefix(filepath.Base(journalPath(h.Tree.Tree)), ".") {
		t.Errorf("%s is not hidden", journalPath(h.Tree.Tree))
	}
	if names, err := h.Tree.Names(); err != nil || len(names) != 1 {
		t.Errorf("the tree has %v, %v", names, err)
	}
	if got := scan(h.k.ModuleDir()); len(got) != 1 {
		t.Errorf("scan = %v", got)
	}
	if h.Tree.Active("foo", tree.Target{Kernel: "6.1", Arch: "x86_64"}) != "1" {
		t.Error("version 1 is not active")
	}
}

// Staged files are never taken for modules.
func TestScanPassesOverStaged(t *testing.T) {
	h := newHouse(t)
	s, active := scenes["another version"](h)
	tr := began(h, s, active)
	for _, c := range tr.Changes {
		if c.Staged != "" {
			h.must(staging(c).apply(t.Context()))
		}
	}
	for name, paths := range scan(h.k.ModuleDir()) {
		for _, p := range paths {
			for _, c := range tr.Changes {
				if p == c.Staged || p == c.Backup {
					t.Errorf("%s is taken for the module %s", p, name)
				}
			}
		}
	}
}
