//go:build differential

package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// step is a command; both machines get the same.
type step struct {
	verb string // the action of dkms, or "" for a mishap
	line string
}

func (s step) String() string { return s.line }

// generator makes sequences of commands. The same seed makes the same
// sequences everywhere.
type generator struct {
	*rand.Rand
	packs []pack
}

// distribution is that of the sequence with the number: mostly Debian, and
// others because they have modules elsewhere and put originals aside.
func distribution(number int) string {
	switch number % 8 {
	case 3:
		return "arch"
	case 6:
		return "fedora"
	}
	return "debian"
}

// sequence is the one with that number: three to eight commands about one to
// three packages, so that they get into each other's way.
func sequence(number int) []step {
	g := generator{Rand: rand.New(rand.NewPCG(uint64(number), 310))}
	for _, i := range g.Perm(len(packages))[:1+g.IntN(3)] {
		g.packs = append(g.packs, packages[i])
		if packages[i].name == "multi" {
			g.packs = append(g.packs, packages[1], packages[2])
		}
		if packages[i].name == "depends" {
			g.packs = append(g.packs, packages[0])
		}
	}
	steps := make([]step, 3+g.IntN(6))
	for i := range steps {
		steps[i] = g.step()
	}
	if g.one(2) { // most of what goes wrong needs something installed
		steps[0] = step{"install", "dkms install" + g.module() + g.kernel(2)}
	}
	return steps
}

// verbs are the actions in the order of how often they come.
var verbs = []struct {
	verb   string
	weight int
	make   func(*generator) string
}{
	{"install", 24, func(g *generator) string {
		return g.module() + g.kernel(12) + g.option("--force", 5) + g.option("--no-depmod", 10) + g.option("--force-version-override", 20)
	}},
	{"build", 14, func(g *generator) string { return g.module() + g.kernel(12) + g.option("--force", 4) }},
	{"add", 10, (*generator).source},
	{"autoinstall", 9, func(g *generator) string { return g.kernel(0) + g.option("--force", 12) }},
	{"uninstall", 9, func(g *generator) string { return g.module() + g.scope() + g.option("--no-depmod", 10) }},
	{"unbuild", 8, func(g *generator) string { return g.module() + g.scope() }},
	{"remove", 10, func(g *generator) string { return g.module() + g.scope() }},
	{"status", 6, (*generator).query},
	{"mktarball", 5, func(g *generator) string {
		return g.module() + g.scope() + g.option("--source-only", 4) + g.option("--binaries-only", 6) + g.option("--archive /var/tmp/a.tar.gz", 3)
	}},
	{"ldtarball", 4, (*generator).tarball},
	{"match", 2, func(g *generator) string {
		return " --templatekernel " + g.pick(kernels...) + g.kernel(0)
	}},
	{"", 12, (*generator).mishap},
}

func (g *generator) step() step {
	total := 0
	for _, v := range verbs {
		total += v.weight
	}
	n := g.IntN(total)
	i := slices.IndexFunc(verbs, func(v struct {
		verb   string
		weight int
		make   func(*generator) string
	}) bool {
		n -= v.weight
		return n < 0
	})
	v := verbs[i]
	if v.verb == "" {
		return step{line: v.make(g)}
	}
	return step{v.verb, "dkms " + v.verb + v.make(g)}
}

// one in n times.
func (g *generator) one(n int) bool { return n > 0 && g.IntN(n) == 0 }

func (g *generator) option(name string, n int) string {
	if g.one(n) {
		return " " + name
	}
	return ""
}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g *generator) pack() pack { return g.packs[g.IntN(len(g.packs))] }

// module names a package in one of the three spellings.
func (g *generator) module() string {
	p := g.pack()
	if g.one(30) {
		p.version = "7" // there is none
	}
	return g.pick(" "+p.id(), " -m "+p.id(), fmt.Sprintf(" -m %s -v %s", p.name, p.version))
}

// kernel is always given, as the running one is that of the host; one in both
// times it is both.
func (g *generator) kernel(both int) string {
	k := g.pick(kernels...)
	switch {
	case g.one(both):
		return " -k " + plainKernel + " -k " + xzKernel
	case g.one(10):
		return " -k " + k + "/x86_64"
	case g.one(25):
		return " -k 5.0.0-none"
	}
	return " -k " + k
}

func (g *generator) scope() string {
	if g.one(3) {
		return " --all"
	}
	return g.kernel(8)
}

// source is a module of the source tree or, now and then, a directory. The
// kernel is there because the running one has no directory.
func (g *generator) source() string {
	words := g.module()
	if g.one(10) {
		words = g.pick(" /usr/src/plain-1.0", " /root/plain-1.0", " /root/plain-1.0/dkms.conf", " /root")
	}
	return words + " -k " + g.pick(kernels...)
}

// tarball is one that mktarball may have made before.
func (g *generator) tarball() string {
	p := g.pack()
	name := fmt.Sprintf("/var/lib/dkms/%s/tarball/%s-%s-", p.id(), p.name, p.version)
	words := g.pick(" /var/tmp/a.tar.gz", " --archive /var/tmp/a.tar.gz", " /var/tmp/none.tar.gz",
		" "+name+"source-only.dkms.tar.gz", " "+name+"kernel"+plainKernel+"-x86_64.dkms.tar.gz")
	return words + " -k " + g.pick(kernels...) + g.option("--force", 4)
}

func (g *generator) query() string {
	p := g.pack()
	words := g.pick("", " "+p.name, " "+p.id(), " -m "+p.name, " -m "+p.name+" -v "+p.version)
	if g.one(2) {
		words += g.kernel(0)
	}
	return words
}

// mishap is what people and other programs do behind the back of dkms.
func (g *generator) mishap() string {
	p, k := g.pack(), g.pick(kernels...)
	installed := fmt.Sprintf("/lib/modules/%s/updates/dkms/%s.ko*", k, p.name)
	tree, source := "/var/lib/dkms/"+p.id(), fmt.Sprintf("/usr/src/%s-%s", p.name, p.version)
	return g.pick(
		"rm -f "+installed,
		fmt.Sprintf("for f in %s; do test ! -e $f || echo >>$f; done", installed),
		fmt.Sprintf("rm -f %s/%s/x86_64/module/*.ko*", tree, k),
		fmt.Sprintf("rm -f %s/source", tree),
		"rm -rf "+source,
		"rm -rf /lib/modules/"+k+"/build",
		fmt.Sprintf("echo '/* changed */' >>%s/%s.c", source, p.name),
		fmt.Sprintf("test ! -e %[1]s || sed -i s/AUTOINSTALL=/X=/ %[1]s", source+"/dkms.conf"),
		fmt.Sprintf("test ! -e %[1]s || echo 'BUILT_MODULE_NAME[0]=other' >>%[1]s", source+"/dkms.conf"),
		fmt.Sprintf("echo 'BUILD_EXCLUSIVE_ARCH=\"^ia64\"' >>/etc/dkms/%s.conf", p.name),
		fmt.Sprintf("echo 'DEST_MODULE_NAME[0]=renamed_by_admin' >>/etc/dkms/%s-%s.conf", p.name, p.version),
		fmt.Sprintf("echo 'AUTOINSTALL=yes' >>/etc/dkms/%s-%s-%s.conf", p.name, p.version, k),
		"touch /etc/dkms/no-autoinstall",
		"echo 'symlink_modules=yes' >>/etc/dkms/framework.conf",
	)
}

func lines(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString("\t" + s.line + "\n")
	}
	return b.String()
}
