package fault

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// scenario is a command whose interruption is looked into.
type scenario struct {
	name    string
	prepare func(m *machine)
	command []string
	// between are commands that lead to what may be found half-way, where the
	// command is several transactions.
	between [][]string
	// originals are modules of the kernel that must not get lost.
	originals []string
	// full says that it is tried on full and read-only file systems.
	full bool
	// twice says that the cleaning up is to be interrupted as well.
	twice bool
	// again are the statuses with which the command may end when it is given
	// once more; without any it is 0.
	again []int
}

// rehearsed makes a build of this kernel one of a rehearsal before a transaction.
func (m *machine) rehearsed(id string) {
	name, version, _ := strings.Cut(id, "/")
	from := tree.Open(system.Root{Dir: m.root})
	m.must(from.KeepRehearsed(m.Context(), from, tree.ID{Name: name, Version: version}, tree.Target{Kernel: release, Arch: arch}))
	m.must(os.RemoveAll(m.tree(id + "/" + release)))
}

// pair are the modules of a package with two of them.
var pair = []string{"left", "right"}

// foreign puts a module that is not ours into the kernel's directory.
func (m *machine) foreign(rel string) {
	m.sources("foreign", "0.5", []string{"foreign"})
	m.want("build", "foreign/0.5")
	built, err := os.ReadFile(m.tree("foreign/0.5/" + release + "/" + arch + "/module/foreign.ko"))
	m.must(err)
	m.want("remove", "foreign/0.5", "--all")
	m.must(os.RemoveAll(m.path("usr/src/foreign-0.5")))
	m.write("lib/modules/"+release+"/"+rel, string(built))
	m.sh("depmod -b . " + release)
}

// scenarios begin after the building, but for one: what compilers do is not
// what is looked into.
var scenarios = []scenario{
	{
		name:    "add",
		prepare: func(m *machine) { m.sources("foo", "1.0", []string{"foo"}); m.want("generate_mok") },
		command: []string{"add", "foo/1.0"},
		again:   []int{3},
	},
	{
		name:    "install",
		prepare: func(m *machine) { m.sources("foo", "1.0", pair); m.want("build", "foo/1.0") },
		full:    true,
		command: []string{"install", "foo/1.0"},
	},
	{
		name: "build and install",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair, "POST_BUILD=post.sh")
			m.write("usr/src/foo-1.0/post.sh", "#!/bin/sh\necho x >../$kernelver/$arch/added\n")
			m.must(os.Chmod(m.path("usr/src/foo-1.0/post.sh"), 0o755))
			m.want("generate_mok")
			m.want("add", "foo/1.0")
		},
		command: []string{"install", "foo/1.0"},
	},
	{
		name: "install what was rehearsed",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.want("build", "foo/1.0")
			m.rehearsed("foo/1.0")
		},
		full:    true,
		command: []string{"install", "foo/1.0"},
	},
	{
		name:    "install over itself",
		prepare: func(m *machine) { m.sources("foo", "1.0", pair); m.want("install", "foo/1.0") },
		command: []string{"install", "--force", "foo/1.0"},
	},
	{
		name: "install over itself with another suffix and other bytes",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.want("install", "foo/1.0")
			m.compressed()
			m.want("build", "--force", "foo/1.0")
		},
		twice:   true,
		command: []string{"install", "--force", "foo/1.0"},
	},
	{
		name:    "uninstall",
		prepare: func(m *machine) { m.sources("foo", "1.0", pair); m.want("install", "foo/1.0") },
		full:    true,
		command: []string{"uninstall", "foo/1.0"},
	},
	{
		name: "upgrade to other records and another suffix",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", []string{"left", "right", "old"})
			m.want("install", "foo/1.0")
			m.compressed()
			m.sources("foo", "2.0", []string{"left", "right", "new"})
			m.want("build", "foo/2.0")
		},
		twice:   true,
		full:    true,
		command: []string{"install", "foo/2.0"},
	},
	{
		name: "downgrade",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.sources("foo", "2.0", pair)
			m.want("build", "foo/1.0")
			m.want("install", "foo/2.0")
		},
		command: []string{"install", "--force", "foo/1.0"},
	},
	{
		name: "remove",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.want("install", "foo/1.0")
			// Without AUTOINSTALL what is left of it would stay.
		},
		full:    true,
		command: []string{"remove", "foo/1.0", "--all"},
		again:   []int{0, 3},
	},
	{
		name: "sign",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.want("install", "foo/1.0")
			m.must(os.Remove(m.tree("mok.key")))
			m.must(os.Remove(m.tree("mok.pub")))
			m.want("generate_mok")
		},
		twice:   true,
		full:    true,
		command: []string{"sign"},
	},
	{
		name: "autoinstall of two",
		prepare: func(m *machine) {
			m.sources("bar", "1.0", []string{"bar"})
			m.sources("foo", "1.0", pair)
			m.want("build", "bar/1.0")
			m.want("build", "foo/1.0")
		},
		command: []string{"autoinstall"},
		between: [][]string{{"install", "bar/1.0"}, {"install", "foo/1.0"}},
	},
	{
		name: "install over the kernel's own",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.foreign("kernel/drivers/left.ko")
			m.want("build", "foo/1.0")
		},
		full:      true,
		command:   []string{"install", "foo/1.0"},
		originals: []string{"kernel/drivers/left.ko"},
	},
	{
		name: "install in the place of the kernel's own",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.foreign("updates/dkms/left.ko")
			m.want("build", "foo/1.0")
		},
		twice:     true,
		command:   []string{"install", "foo/1.0"},
		originals: []string{"updates/dkms/left.ko"},
	},
	{
		name: "undo of an upgrade, to a version that is in the tree",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", []string{"left", "right", "old"})
			m.sources("foo", "2.0", []string{"left", "right", "new"})
			m.want("install", "foo/1.0")
			m.want("install", "foo/2.0")
		},
		command: []string{"undo"},
		again:   []int{0, 1},
	},
	{
		name: "undo of an upgrade, to a build that was kept",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.want("install", "foo/1.0")
			m.compressed()
			m.want("install", "--force", "foo/1.0")
		},
		twice:   true,
		full:    true,
		command: []string{"undo"},
		again:   []int{0, 1},
	},
	{
		name: "uninstall, and the kernel's own comes back",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.foreign("kernel/drivers/left.ko")
			m.want("install", "foo/1.0")
		},
		command:   []string{"uninstall", "foo/1.0"},
		originals: []string{"kernel/drivers/left.ko"},
	},
	{
		name: "uninstall, and the kernel's own comes back to the same place",
		prepare: func(m *machine) {
			m.sources("foo", "1.0", pair)
			m.foreign("updates/dkms/left.ko")
			m.want("install", "foo/1.0")
		},
		twice:     true,
		command:   []string{"uninstall", "foo/1.0"},
		originals: []string{"updates/dkms/left.ko"},
	},
}

// ground is a scenario laid down: the machine and what may be found on it.
type ground struct {
	*machine
	scenario
	world
	// goal is the set of modules after the command.
	goal string
	// finals are the pictures that the command given again, and autoinstall,
	// may lead to in the end.
	finals map[string][]string
}

// lay lays down a scenario and finds out, without faults, what it leads to.
func (s scenario) lay(t *testing.T) *ground {
	t.Helper()
	m := newMachine(t)
	g := &ground{machine: m, scenario: s, finals: map[string][]string{}}
	s.prepare(m)
	m.want("status")
	m.save("before")
	g.originalsOf(m)
	g.world.add(m)
	g.final("autoinstall")
	m.back("before")
	m.want(s.command...)
	g.goal = m.modules()
	g.world.add(m)
	m.save("done")
	g.final("again")
	m.back("done")
	g.final("autoinstall")
	for _, args := range s.between {
		m.back("before")
		m.want(args...)
		g.world.add(m)
	}
	return g
}

func (g *ground) originalsOf(m *machine) {
	g.world.originals = map[string]string{}
	for _, rel := range g.scenario.originals {
		path := "lib/modules/" + release + "/" + rel
		sum := ""
		if archived, _ := filepath.Glob(m.tree("*/original_module/*/*/" + filepath.Base(rel))); len(archived) == 1 {
			path2, err := filepath.Rel(m.root, archived[0])
			m.must(err)
			sum = m.digest(path2)
			g.whole = map[string]bool{sum: true}
		} else {
			sum = m.digest(path)
		}
		g.world.originals[path] = sum
	}
}

// final runs a way on and adds the picture that it leads to.
func (g *ground) final(way string) {
	g.Helper()
	g.onwards(way)
	g.finals[way] = append(g.finals[way], g.picture())
	if left := append(g.leftovers(), g.wrongIndex()...); len(left) > 0 {
		g.Fatalf("without any fault, %s leaves %v", way, left)
	}
}

// onwards runs one of the ways on: the same command again, or what the next
// boot does.
func (g *ground) onwards(way string) {
	g.Helper()
	args, codes := []string{"autoinstall"}, []int{0}
	if way == "again" {
		args = g.command
		if g.again != nil {
			codes = append(codes, g.again...)
		}
	}
	if r := g.dkms(args...); !slices.Contains(codes, r.code) {
		g.Errorf("then dkms %s = %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
}
