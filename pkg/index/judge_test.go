package index

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dkms/pkg/module"
)

// machine is a module tree and the depmod that judges what is made of it.
type machine struct {
	root     string // of the system whose depmod it is, "" for this one
	work     string // the directory of the trees, below the root
	release  string
	tree     Tree
	depmodIs Depmod
	aside    string // where displaced modules wait
	rand     *rand.Rand
	intree   []string // the paths of the modules of the kernel
	symbols  []string // what they export
	tally    tally
}

// tally is what was seen.
type tally struct {
	sequences, steps, updated, noted, judged, files, differences int
	reasons                                                      map[string]int
	ours, theirs                                                 time.Duration
}

func (m *machine) String() string {
	return fmt.Sprintf("depmod of kmod %d, kernel %s", m.depmodIs.Version, m.release)
}

// judged is the second tree, which is the first one through links: depmod
// writes its own index there.
func (m *machine) judged() string { return path.Join(m.base("judge"), "lib/modules", m.release) }

func (m *machine) base(name string) string { return filepath.Join(m.root, m.work, name) }

// command runs a program of the machine.
func (m *machine) command(t testing.TB, argv ...string) []byte {
	t.Helper()
	if m.root != "" {
		argv = append([]string{"chroot", m.root}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	if slices.Contains(argv, filepath.Join(m.work, "judge")) {
		m.tally.theirs += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return out
}

// depmod has the machine's depmod make the index of a tree.
func (m *machine) depmod(t testing.TB, name string) {
	t.Helper()
	argv := []string{"depmod", "-a", "-b", filepath.Join(m.work, name)}
	if m.root == "" && len(m.tree.Config) > 0 {
		argv = append(argv, "-C", m.tree.Config[0])
	}
	m.command(t, append(argv, m.release)...)
}

// prepare gives the machine its depmod and both trees, of which the first is
// there already.
func (m *machine) prepare(t testing.TB) {
	t.Helper()
	out := m.command(t, "depmod", "--version")
	var err error
	m.depmodIs, err = parseDepmod(string(out))
	check(t, err)
	m.tree.Depmod = func() (Depmod, error) { return m.depmodIs, nil }
	m.tree.Dir = path.Join(m.base("ours"), "lib/modules", m.release)
	m.tree.Note = m.base("note")
	m.aside = m.base("aside")
	check(t, os.MkdirAll(m.aside, 0o755))
	m.prepareJudge(t)
	for _, dir := range []string{"updates", "extra"} {
		check(t, os.MkdirAll(filepath.Join(m.tree.Dir, dir), 0o755))
	}
	check(t, os.MkdirAll(filepath.Join(m.tree.Dir, "kernel/drivers/misc"), 0o755))
	m.depmod(t, "ours")
	old, err := m.tree.load()
	check(t, err)
	for _, e := range old.modules {
		m.intree = append(m.intree, e.path)
	}
	for _, s := range old.symbols {
		m.symbols = append(m.symbols, s.key[len(symbolPrefix):])
	}
}

// prepareJudge makes the second tree.
func (m *machine) prepareJudge(t testing.TB) {
	t.Helper()
	m.tally = tally{reasons: map[string]int{}}
	check(t, os.MkdirAll(m.judged(), 0o755))
	for _, name := range []string{"kernel", "updates", "extra", "modules.order", "modules.builtin", "modules.builtin.modinfo"} {
		check(t, os.Symlink(filepath.Join("../../../../ours/lib/modules", m.release, name), filepath.Join(m.judged(), name)))
	}
}

// step brings the index up to date and, at the end of a sequence, lets depmod
// judge it.
func (m *machine) step(t testing.TB, what string, last bool) {
	t.Helper()
	m.tally.steps++
	if old, err := m.tree.open(); err == nil && old.noted != nil {
		m.tally.noted++
	}
	before := m.snapshot(t, m.tree.Dir)
	cpu := processTime()
	res, err := m.tree.Update()
	cpu = processTime() - cpu
	switch {
	case err == nil:
		m.tally.updated++
		m.tally.ours += cpu
		t.Logf("%s: %+v", what, *res)
	case IsNotProven(err):
		m.tally.reasons[err.Error()]++
		if !maps.EqualFunc(before, m.snapshot(t, m.tree.Dir), bytes.Equal) {
			t.Fatalf("%s: refused (%v), and still written", what, err)
		}
		t.Logf("%s: %v", what, err)
		m.depmod(t, "ours")
		return
	default:
		t.Fatalf("%s: %v", what, err)
	}
	if last {
		m.judge(t, what)
	}
}

// judge compares the index with depmod's.
func (m *machine) judge(t testing.TB, what string) {
	t.Helper()
	m.tally.judged++
	m.depmod(t, "judge")
	ours, theirs := m.snapshot(t, m.tree.Dir), m.snapshot(t, m.judged())
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		m.tally.files++
		if !bytes.Equal(ours[name], theirs[name]) {
			m.tally.differences++
			t.Errorf("%s: %s differs\n%s", what, name, firstDifference(ours[name], theirs[name]))
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("%s: %d files of ours, %d of depmod's", what, len(ours), len(theirs))
	}
}

func firstDifference(ours, theirs []byte) string {
	a, b := bytes.Split(ours, []byte("\n")), bytes.Split(theirs, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			return fmt.Sprintf("line %d\nours:   %.200q\ntheirs: %.200q", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines of ours, %d of depmod's", len(a), len(b))
}

// snapshot reads all files of an index.
func (m *machine) snapshot(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(dir, "modules.*"))
	check(t, err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		check(t, err)
		files[filepath.Base(name)] = data
	}
	return files
}

// sequence makes some changes, one on top of the other. Each is what dkms, or
// somebody with a driver of their own, does to a tree.
func (m *machine) sequence(t testing.TB, steps int) {
	t.Helper()
	m.tally.sequences++
	for i := range steps {
		var what []string
		m.tick(t)
		switch m.rand.IntN(3) {
		case 0:
			m.tree.Read = nil
		case 1:
			m.tree.Read = m.tree.Ahead()
			m.tree.Read.Start()
		} // else it may be an index of some steps before
		if m.rand.IntN(6) == 0 {
			os.Remove(m.tree.Note)
		}
		for range 1 + m.rand.IntN(3) {
			what = append(what, m.operation(t))
		}
		m.find(t)
		m.step(t, fmt.Sprintf("%d.%d: %s", m.tally.sequences, m.tally.steps, strings.Join(what, ", ")), i == steps-1)
	}
}

// find looks for files by names, as an installation does.
func (m *machine) find(t testing.TB) {
	t.Helper()
	names := []string{"test-1", "test-2", "nest-1", "nest-2", "absent"}
	for range 3 {
		name, _, _ := module.ParseSuffix(m.pick(m.intree))
		names = append(names, name)
	}
	plain := Tree{Dir: m.tree.Dir}
	if got, want := m.tree.Files(names), plain.Files(names); !slices.Equal(got, want) {
		t.Errorf("Files(%q) = %q; the directories have %q", names, got, want)
	}
}

// tick waits until the clock of the file system has moved on: the times of what
// changes at the moment at which an index is written prove nothing.
func (m *machine) tick(t testing.TB) {
	t.Helper()
	clock := m.base("clock")
	timeOf := func(file string) int64 {
		st, err := os.Stat(file)
		check(t, err)
		return st.Sys().(*syscall.Stat_t).Ctim.Nano()
	}
	check(t, os.WriteFile(clock, nil, 0o644))
	before := max(timeOf(clock), timeOf(filepath.Join(m.tree.Dir, "modules.devname")))
	var coarse unix.Timespec
	for timeOf(clock) <= before || coarse.Nano() <= before {
		check(t, os.WriteFile(clock, nil, 0o644))
		check(t, unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &coarse))
	}
}

func (m *machine) pick(list []string) string { return list[m.rand.IntN(len(list))] }

// operation changes one module.
func (m *machine) operation(t testing.TB) string {
	t.Helper()
	installed := m.installed()
	switch n := m.rand.IntN(24); {
	case n < 8 || len(installed) == 0:
		return m.install(t, fmt.Sprintf("test-%d", m.rand.IntN(14)), m.driver())
	case n < 11:
		file := m.pick(installed)
		check(t, os.Remove(file))
		return "remove " + filepath.Base(file)
	case n < 13: // an in-tree module as its successor, or a driver of its name
		file := m.pick(m.intree)
		name, _, _ := module.ParseSuffix(file)
		if _, err := os.Stat(filepath.Join(m.tree.Dir, file)); err != nil || m.rand.IntN(2) == 0 {
			return m.install(t, name, m.driver())
		}
		data, err := module.Load(filepath.Join(m.tree.Dir, file))
		check(t, err)
		return "shadow by " + m.install(t, name, data)
	case n < 16:
		return m.displace(t)
	case n < 18:
		return m.putBack(t)
	case n < 22:
		return m.nest(t)
	default: // a symbol of the kernel from somebody else
		d := m.driverOf()
		d.imports = nil // which could close a circle, and depmod would write nothing
		d.exports = append(d.exports, m.pick(m.symbols))
		return "clash " + m.install(t, fmt.Sprintf("test-%d", m.rand.IntN(14)), d.bytes())
	}
}

// installed are the modules that are not the kernel's.
func (m *machine) installed() []string {
	var list []string
	for _, dir := range []string{"updates", "updates/dkms", "extra", "kernel/drivers/misc"} {
		files, _ := filepath.Glob(filepath.Join(m.tree.Dir, dir, "*.ko*"))
		for _, f := range files {
			rel, _ := filepath.Rel(m.tree.Dir, f)
			if !slices.Contains(m.intree, rel) {
				list = append(list, f)
			}
		}
	}
	return list
}

// install puts a module to one of the places where dkms puts them, and takes it
// away from the others.
func (m *machine) install(t testing.TB, name string, data []byte) string {
	t.Helper()
	for _, f := range m.installed() {
		if n, _, _ := module.ParseSuffix(f); n == name {
			check(t, os.Remove(f))
		}
	}
	dir := m.pick([]string{"updates/dkms", "updates/dkms", "updates"})
	if strings.HasPrefix(name, "test-") && m.rand.IntN(3) == 0 { // where it would not win over the kernel's own
		dir = m.pick([]string{"extra", "kernel/drivers/misc"})
	}
	file := filepath.Join(dir, name+m.pick(m.depmodIs.Suffixes))
	put(t, filepath.Join(m.tree.Dir, file), data)
	return "install " + file
}

// driver is a module that imports, and perhaps exports, symbols.
func (m *machine) driver() []byte { return m.driverOf().bytes() }

func (m *machine) driverOf() made {
	d := made{crcs: m.rand.IntN(2) == 0, versions: m.rand.IntN(4) == 0}
	for range m.rand.IntN(5) {
		d.info = append(d.info, fmt.Sprintf("alias=pci:v%08Xd%08Xsv*sd*bc*sc*i*", m.rand.IntN(4)*0x1111, m.rand.IntN(40)))
	}
	for _, rare := range []string{
		"alias=char-major-10-200", "alias=devname:test-node", "alias=with-dash[a-c]x-y", "softdep=pre: test-1 post: crc32c",
		"weakdep=test-2", "alias=symbol:test", "depends=", "license=GPL", "alias=",
	} {
		if m.rand.IntN(6) == 0 && rare != "alias=devname:test-node" {
			d.info = append(d.info, rare)
		}
	}
	if slices.Contains(d.info, "alias=char-major-10-200") {
		d.info = append(d.info, "alias=devname:test-node")
	}
	level := m.rand.IntN(12)
	for range m.rand.IntN(4) {
		d.imports = append(d.imports, fmt.Sprintf("test_symbol_%d", m.rand.IntN(level+1)))
	}
	for range m.rand.IntN(6) {
		d.imports = append(d.imports, m.pick(m.symbols))
	}
	d.imports = append(d.imports, "printk")
	if m.rand.IntN(3) == 0 {
		for range 1 + m.rand.IntN(3) {
			d.exports = append(d.exports, fmt.Sprintf("test_symbol_%d", level+1+m.rand.IntN(6)))
		}
	}
	return d
}

// displace takes a module of the kernel away.
func (m *machine) displace(t testing.TB) string {
	t.Helper()
	file := m.pick(m.intree)
	if err := os.Rename(filepath.Join(m.tree.Dir, file), filepath.Join(m.aside, strings.ReplaceAll(file, "/", "%"))); err != nil {
		return "nothing"
	}
	return "displace " + file
}

// putBack puts a module of the kernel back.
func (m *machine) putBack(t testing.TB) string {
	t.Helper()
	waiting, err := os.ReadDir(m.aside)
	check(t, err)
	if len(waiting) == 0 {
		return "nothing"
	}
	name := waiting[m.rand.IntN(len(waiting))].Name()
	file := strings.ReplaceAll(name, "%", "/")
	check(t, os.Rename(filepath.Join(m.aside, name), filepath.Join(m.tree.Dir, file)))
	return "put back " + file
}

// nest changes one of two directories that have modules in a directory of
// theirs, or gives each the name of the other.
func (m *machine) nest(t testing.TB) string {
	t.Helper()
	path := func(name string) string { return filepath.Join(m.tree.Dir, "updates", name) }
	here := m.pick([]string{"one", "two"})
	name := m.pick([]string{"nest-1", "nest-2", "nest-3"})
	switch m.rand.IntN(5) {
	case 0:
		check(t, os.RemoveAll(path(here)))
		return "remove updates/" + here
	case 1, 2:
		temp := filepath.Join(m.aside, "..", "swapped")
		for _, p := range [][2]string{{path("one"), temp}, {path("two"), path("one")}, {temp, path("two")}} {
			if err := os.Rename(p[0], p[1]); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		return "swap updates/one and updates/two"
	}
	for _, dir := range []string{"one", "two"} {
		os.Remove(path(dir + "/deep/" + name + ".ko"))
	}
	put(t, path(here+"/deep/"+name+".ko"), m.driver())
	return "install updates/" + here + "/deep/" + name
}

// report prints what was seen.
func (m *machine) report(t testing.TB) {
	t.Helper()
	for _, reason := range slices.Sorted(maps.Keys(m.tally.reasons)) {
		t.Logf("left to depmod %d times: %s", m.tally.reasons[reason], reason)
	}
	y := m.tally
	fmt.Printf("%v: %d sequences, %d steps, %d of them by update, %d with a note, judged %d times, %d files compared, %d differences\n",
		m, y.sequences, y.steps, y.updated, y.noted, y.judged, y.files, y.differences)
	if y.updated > 0 {
		fmt.Printf("%v: processor time of an update %v, of depmod %v, ratio %.1f\n", m,
			(y.ours / time.Duration(y.updated)).Round(time.Millisecond/10), (y.theirs / time.Duration(max(y.judged, 1))).Round(time.Millisecond/10),
			float64(y.theirs)/float64(max(y.judged, 1))/(float64(y.ours)/float64(y.updated)))
	}
	if y.noted*3 < y.steps {
		t.Errorf("only %d of %d steps had a note", y.noted, y.steps)
	}
	if y.updated*2 < y.steps {
		t.Errorf("only %d of %d steps were updates", y.updated, y.steps)
	}
}

// load reads and parses the index.
func (t *Tree) load() (*loaded, error) {
	l, err := t.open()
	if err != nil {
		return nil, err
	}
	return l, l.parse()
}
