package index

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnprovenIsRefused has trees that an update cannot be proven for: nothing
// is written, and the reason is told.
func TestUnprovenIsRefused(t *testing.T) {
	base := newSmall(t)
	driver := made{info: []string{"license=GPL"}}
	for _, c := range []struct {
		reason string
		spoil  func(t *testing.T, m *machine)
	}{
		{"modules.order is missing", func(t *testing.T, m *machine) { check(t, os.Remove(m.file("modules.order"))) }},
		{"modules.builtin.bin is missing", func(t *testing.T, m *machine) { check(t, os.Remove(m.file("modules.builtin.bin"))) }},
		{"modules.builtin is newer", func(t *testing.T, m *machine) { m.append(t, "modules.builtin", "kernel/more.ko\n") }},
		{"modules.order is newer", func(t *testing.T, m *machine) { m.append(t, "modules.order", "kernel/more.ko\n") }},
		{"modules.weakdep is not as", func(t *testing.T, m *machine) {
			if m.depmodIs.Version >= weakdeps {
				check(t, os.Remove(m.file("modules.weakdep")))
			} else {
				check(t, os.WriteFile(m.file("modules.weakdep"), []byte(weakdepHead), 0o644))
			}
		}},
		{"modules.alias.bin is not what", func(t *testing.T, m *machine) { m.edit(t, "modules.alias.bin", "intree_07", "intree_08") }},
		{"modules.symbols.bin is not what", func(t *testing.T, m *machine) { m.append(t, "modules.symbols.bin", "x") }},
		{"modules.alias has an unknown line", func(t *testing.T, m *machine) { m.append(t, "modules.alias", "options x y=1\n") }},
		{"modules.alias does not fit", func(t *testing.T, m *machine) { m.append(t, "modules.alias", "alias x nothing\n") }},
		{"modules.symbols does not fit", func(t *testing.T, m *machine) { m.append(t, "modules.symbols", "alias symbol:x nothing\n") }},
		{"modules.softdep does not fit", func(t *testing.T, m *machine) { m.append(t, "modules.softdep", "softdep nothing pre: x\n") }},
		{"modules.symbols is not all ASCII", func(t *testing.T, m *machine) { m.append(t, "modules.symbols", "alias symbol:\xff intree_01\n") }},
		{"modules.dep has no line for", func(t *testing.T, m *machine) { m.append(t, "modules.dep", "kernel/z.ko: kernel/y.ko\n") }},
		{"are of one name", func(t *testing.T, m *machine) { m.put(t, "extra/intree-07.ko", driver) }},
		{"neither a file nor a directory", func(t *testing.T, m *machine) { check(t, os.Symlink("nowhere", m.file("updates/x.ko"))) }},
		{"neither a file nor a directory", func(t *testing.T, m *machine) { check(t, os.Symlink("../kernel", m.file("updates/more"))) }},
		{"unusual name", func(t *testing.T, m *machine) { m.put(t, "updates/a.b.ko", driver) }},
		{"not an ELF file", func(t *testing.T, m *machine) { check(t, os.WriteFile(m.file("updates/x.ko"), []byte("x"), 0o644)) }},
		{"no zstd frame that tells", func(t *testing.T, m *machine) {
			cmd := exec.Command("zstd", "-q", "-c")
			cmd.Stdin = bytes.NewReader(driver.bytes())
			out, err := cmd.Output()
			check(t, err)
			check(t, os.WriteFile(m.file("updates/x.ko.zst"), out, 0o644))
		}},
		{"compression is not that of its name", func(t *testing.T, m *machine) {
			check(t, os.WriteFile(m.file("updates/x.ko.xz"), driver.bytes(), 0o644))
		}},
		{"has the alias a]", func(t *testing.T, m *machine) { m.put(t, "updates/x.ko", made{info: []string{"alias=a]"}}) }},
		{"without its number", func(t *testing.T, m *machine) { m.put(t, "updates/x.ko", made{info: []string{"alias=devname:x"}}) }},
		{"something unusual", func(t *testing.T, m *machine) { m.put(t, "updates/x.ko", made{info: []string{"alias=\xff"}}) }},
		{"need each other", func(t *testing.T, m *machine) {
			m.put(t, "updates/x.ko", made{exports: []string{"x"}, imports: []string{"y"}})
			m.put(t, "updates/y.ko", made{exports: []string{"y"}, imports: []string{"x"}})
		}},
		{"printk is a symbol of the kernel", func(t *testing.T, m *machine) { m.put(t, "updates/x.ko", made{exports: []string{"printk"}}) }},
		{"name of a namespace", func(t *testing.T, m *machine) { m.put(t, "updates/x.ko", made{exports: []string{"SPACE"}}) }},
		{"the kernel's own symbols are not known", func(t *testing.T, m *machine) {
			m.put(t, "updates/x.ko", made{exports: []string{"x"}})
			m.tree.Symvers = "/nonexistent"
		}},
		{"says external", func(t *testing.T, m *machine) { m.configure(t, "external * /opt") }},
		{"goes on in the next", func(t *testing.T, m *machine) { m.configure(t, "search \\\nupdates") }},
		{"has an override", func(t *testing.T, m *machine) {
			m.configure(t, "override intree-07 * extra")
			m.put(t, "updates/intree-07.ko", driver)
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			m := base.copy(t)
			m.update(t)
			m.tick(t)
			m.tree.Read = m.tree.Ahead()
			check(t, m.tree.Read.parse())
			c.spoil(t, m)
			before := m.snapshot(t, m.tree.Dir)
			res, err := m.tree.Update()
			if err == nil || !IsNotProven(err) || !strings.Contains(err.Error(), c.reason) {
				t.Fatalf("Update() = %+v, %v; want %q", res, err, c.reason)
			}
			if !maps.EqualFunc(before, m.snapshot(t, m.tree.Dir), bytes.Equal) {
				t.Error("the index has changed")
			}
		})
	}
}

// copy is a machine with a copy of the tree, whose index is new.
func (m *machine) copy(t testing.TB) *machine {
	t.Helper()
	c := *m
	c.work = inMemory(t)
	c.tree.Dir = filepath.Join(c.base("ours"), "lib/modules", m.release)
	c.tree.Note = c.base("note")
	check(t, os.CopyFS(c.tree.Dir, os.DirFS(m.tree.Dir)))
	c.depmod(t, "ours")
	return &c
}

// update brings the index up to date, which leaves a note.
func (m *machine) update(t testing.TB) {
	t.Helper()
	m.tick(t)
	_, err := m.tree.Update()
	check(t, err)
}

func (m *machine) file(name string) string { return filepath.Join(m.tree.Dir, name) }

func (m *machine) put(t testing.TB, name string, d made) {
	t.Helper()
	put(t, m.file(name), d.bytes())
}

func (m *machine) append(t testing.TB, name, text string) {
	t.Helper()
	data, err := os.ReadFile(m.file(name))
	check(t, err)
	check(t, os.WriteFile(m.file(name), append(data, text...), 0o644))
}

func (m *machine) edit(t testing.TB, name, from, to string) {
	t.Helper()
	data, err := os.ReadFile(m.file(name))
	check(t, err)
	if !bytes.Contains(data, []byte(from)) {
		t.Fatalf("%s has no %s", name, from)
	}
	check(t, os.WriteFile(m.file(name), bytes.Replace(data, []byte(from), []byte(to), 1), 0o644))
}

func (m *machine) configure(t testing.TB, lines string) {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "test.conf"), []byte(lines+"\n"), 0o644))
	m.tree.Config = []string{dir}
}

// TestSearchIsDepmods has depmod and us choose among files of one name.
func TestSearchIsDepmods(t *testing.T) {
	base := newSmall(t)
	for i, config := range []string{
		"", "# nothing", "search updates extra built-in", "search built-in updates extra", "search extra updates", "make_map_files no\nsearch extra built-in",
	} {
		t.Run(config, func(t *testing.T) {
			m := base.copy(t)
			m.configure(t, config)
			m.prepareJudge(t)
			m.depmod(t, "ours")
			for _, dir := range []string{"updates", "updates/dkms", "extra", "extra/deep"} {
				m.tick(t)
				for n := range 3 { // none of which exports anything
					m.put(t, fmt.Sprintf("%s/intree-%02d.ko", dir, 4*(3*i+n)), made{info: []string{"alias=from:" + dir}})
				}
				m.step(t, dir, true)
				m.tick(t)
				for n := range 3 {
					check(t, os.Remove(m.file(fmt.Sprintf("%s/intree-%02d.ko", dir, 4*(3*i+n)))))
				}
				m.step(t, "none", true)
			}
			if m.tally.updated < 4 {
				t.Errorf("only %d updates", m.tally.updated)
			}
		})
	}
}

// TestCrash leaves an index of which only some files are new, as a power cut
// may. Then it is refused, or what is made of it is right all the same.
func TestCrash(t *testing.T) {
	base := newSmall(t)
	for renamed := range 1 << 4 {
		for _, last := range []string{"install", "remove", "nothing"} {
			t.Run(fmt.Sprintf("%04b-%s", renamed, last), func(t *testing.T) {
				m := base.copy(t)
				m.prepareJudge(t)
				m.put(t, "updates/first.ko", made{info: []string{"alias=first"}, exports: []string{"first"}})
				m.depmod(t, "ours")
				m.tick(t)
				m.put(t, "updates/second.ko", made{info: []string{"alias=second", "softdep=pre: first"}, imports: []string{"first"}, exports: []string{"second"}})
				check(t, os.Remove(m.file("updates/first.ko")))
				m.crash(t, renamed)
				m.tick(t)
				switch last {
				case "install":
					m.put(t, "updates/third.ko", made{info: []string{"alias=third"}, imports: []string{"second", "in_7_0"}})
				case "remove":
					check(t, os.Remove(m.file("updates/second.ko")))
				}
				m.step(t, last, true)
			})
		}
	}
}

// crash brings the index up to date but for the files that are not among
// renamed: modules.dep, .alias and .symbols with their binary forms, the others.
func (m *machine) crash(t testing.TB, renamed int) {
	t.Helper()
	c, err := m.tree.plan()
	check(t, err)
	now, err := c.contents()
	check(t, err)
	groups := map[string]int{"dep": 0, "dep.bin": 0, "alias": 1, "alias.bin": 1, "symbols": 2, "symbols.bin": 2}
	for _, f := range now.render(c.old.size) {
		group, ok := groups[f.name]
		if !ok {
			group = 3
		}
		if f.kept {
			f.data, err = os.ReadFile(c.old.path(f.name))
			check(t, err)
		}
		if renamed&(1<<group) != 0 {
			check(t, os.WriteFile(c.old.path(f.name)+".new", f.data, 0o644))
			check(t, os.Rename(c.old.path(f.name)+".new", c.old.path(f.name)))
		}
	}
}
