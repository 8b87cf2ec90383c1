package index

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// withNote is a machine whose last update has left a note.
func withNote(t *testing.T, base *machine) *machine {
	t.Helper()
	m := base.copy(t)
	m.prepareJudge(t)
	m.tick(t)
	for _, name := range []string{"updates/one/deep/first.ko", "updates/two/deep/second.ko"} {
		m.put(t, name, made{info: []string{"alias=" + name}, exports: []string{"of_" + name[8:11]}})
	}
	m.tick(t)
	m.update(t)
	if old, err := m.tree.open(); err != nil || old.noted == nil {
		t.Fatalf("there is no note: %v", err)
	}
	m.tick(t)
	return m
}

// TestNote changes a tree in ways that a note does not show by itself.
func TestNote(t *testing.T) {
	base := newSmall(t)
	for name, change := range map[string]func(t *testing.T, m *machine){
		"nothing": func(t *testing.T, m *machine) {},
		"written in place": func(t *testing.T, m *machine) {
			m.put(t, "updates/one/deep/first.ko", made{info: []string{"alias=another"}})
		},
		"directories swapped": func(t *testing.T, m *machine) {
			for _, p := range [][2]string{{"one", "three"}, {"two", "one"}, {"three", "two"}} {
				check(t, os.Rename(m.file("updates/"+p[0]), m.file("updates/"+p[1])))
			}
		},
		"mounted": func(t *testing.T, m *machine) {
			if os.Geteuid() != 0 {
				t.Skip("only root mounts")
			}
			outside, on := m.file("../outside"), m.file("updates/one/deep")
			for _, name := range []string{"first", "mounted"} {
				m.put(t, "../outside/"+name+".ko", made{info: []string{"alias=" + name}})
			}
			m.tick(t)
			m.update(t)
			m.tick(t)
			check(t, unix.Mount(outside, on, "", unix.MS_BIND, ""))
			t.Cleanup(func() { unix.Unmount(on, unix.MNT_DETACH) })
		},
		"a link that leads elsewhere": func(t *testing.T, m *machine) {
			m.put(t, "../aim", made{info: []string{"alias=aim"}})
			check(t, os.Symlink("../../aim", m.file("updates/link.ko")))
			m.update(t)
			m.tick(t)
			m.put(t, "../aim", made{info: []string{"alias=aimed"}})
		},
		"damaged note": func(t *testing.T, m *machine) {
			text, err := os.ReadFile(m.tree.Note)
			check(t, err)
			lost := strings.Replace(string(text), " first.ko\n", "", 1)
			if lost == string(text) {
				t.Fatal("the note does not tell of first.ko")
			}
			check(t, os.WriteFile(m.tree.Note, []byte(lost), 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := withNote(t, base)
			change(t, m)
			m.find(t)
			m.step(t, name, true)
			if m.tally.updated == 0 {
				t.Errorf("depmod had to make the index: %v", m.tally.reasons)
			}
		})
	}
}

// TestNoteMeanwhile has somebody else change the tree between the walk of an
// update and its end: the next update sees it.
func TestNoteMeanwhile(t *testing.T) {
	m := withNote(t, newSmall(t))
	c, err := m.tree.plan()
	check(t, err)
	m.put(t, "updates/one/deep/third.ko", made{info: []string{"alias=third"}})
	m.tick(t)
	now, err := c.contents()
	check(t, err)
	check(t, c.old.replace(now.render(c.old.size)))
	m.tree.note(c.old, c.walked)
	m.tick(t)
	m.step(t, "install third", true)
	if m.tally.noted == 0 || m.tally.updated == 0 {
		t.Errorf("the next update had no note, or failed: %v", m.tally.reasons)
	}
}

// TestNoNote has what a note cannot tell, so that there is none.
func TestNoNote(t *testing.T) {
	base := newSmall(t)
	for name, change := range map[string]func(t *testing.T, m *machine){
		"a directory that depmod passes over": func(t *testing.T, m *machine) { check(t, os.Mkdir(m.file("updates/source"), 0o755)) },
		"a name of two lines":                 func(t *testing.T, m *machine) { check(t, os.Mkdir(m.file("updates/a\nb"), 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := withNote(t, base)
			change(t, m)
			m.update(t)
			if _, err := os.Lstat(m.tree.Note); !os.IsNotExist(err) {
				t.Errorf("there is a note: %v", err)
			}
		})
	}
	t.Run("an index of somebody else", func(t *testing.T) {
		m := withNote(t, base)
		c, err := m.tree.plan()
		check(t, err)
		now, err := c.contents()
		check(t, err)
		check(t, c.old.replace(now.render(c.old.size)))
		m.depmod(t, "ours")
		m.tree.note(c.old, c.walked)
		if _, err := os.Lstat(m.tree.Note); !os.IsNotExist(err) {
			t.Errorf("there is a note: %v", err)
		}
	})
}

// TestFilesUnread has a module whose compression depmod does not read.
func TestFilesUnread(t *testing.T) {
	m := newSmall(t)
	plain := m.depmodIs
	plain.Suffixes = []string{".ko"}
	m.tree.Depmod = func() (Depmod, error) { return plain, nil }
	m.tick(t)
	check(t, os.WriteFile(m.file("updates/packed.ko.gz"), nil, 0o644))
	m.tick(t)
	m.update(t)
	m.tick(t)
	m.tree.Read = m.tree.Ahead()
	if got, want := m.tree.Files([]string{"packed"}), []string{m.file("updates/packed.ko.gz")}; !slices.Equal(got, want) {
		t.Errorf("Files(packed) = %q; want %q", got, want)
	}
	if m.tree.names() == nil {
		t.Error("the note was of no use")
	}
}

// TestNoteOfDepmod asks depmod what it is only where no note says it of the same
// program, and does not take a note of another depmod.
func TestNoteOfDepmod(t *testing.T) {
	m := newSmall(t)
	asked, is := 0, m.depmodIs
	m.tree.Depmod = func() (Depmod, error) { asked++; return is, nil }
	for _, c := range []struct {
		program string
		version int
		asked   int
		noted   bool
	}{
		{"one", is.Version, 1, false},
		{"one", is.Version, 0, true},
		{"another", is.Version, 1, true},
		{"", is.Version, 1, true},
		{"", is.Version, 1, true}, // a program that is not identified is asked each time
		{"third", is.Version - 1, 1, false},
	} {
		asked, is.Version, m.tree.Program = 0, c.version, func() string { return c.program }
		m.tick(t)
		old, err := m.tree.open()
		if asked != c.asked || err == nil && (old.noted != nil) != c.noted || err != nil && c.noted {
			t.Errorf("%+v: asked %d times; %v", c, asked, err)
		}
		if c.version == m.depmodIs.Version {
			m.update(t)
		}
	}
}

// TestNoteOfReplacedDepmod has depmod replaced while an index is updated: the note
// is about the one that was asked.
func TestNoteOfReplacedDepmod(t *testing.T) {
	m := newSmall(t)
	program, asked := "before", 0
	m.tree.Program = func() string { return program }
	m.tree.Depmod = func() (Depmod, error) {
		asked++
		program = "after"
		return m.depmodIs, nil
	}
	m.update(t)
	m.tick(t)
	if _, err := m.tree.open(); err != nil || asked != 2 {
		t.Errorf("depmod was asked %d times; want 2; %v", asked, err)
	}
}
