package plan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

var target = tree.Target{Kernel: "6.1", Arch: "x86_64"}

// subject reads "NAME", "NAME built" or "NAME installed"; installed without
// built is "NAME active".
func subject(s string) Subject {
	name, state, _ := strings.Cut(s, " ")
	return Subject{
		ID: tree.ID{Name: name, Version: "1"}, Target: target,
		Built: state == "built" || state == "installed", Installed: state == "installed" || state == "active",
	}
}

func subjects(list ...string) (all []Subject) {
	for _, s := range list {
		all = append(all, subject(s))
	}
	return all
}

// show is a plan as text, a line for each step and note.
func show(p *Plan) []string {
	var lines []string
	for _, s := range p.Steps {
		line := fmt.Sprintf("%s %s", s.Kind, s.ID.Name)
		if s.Target.Kernel != target.Kernel {
			line += "@" + s.Target.Kernel
		}
		line += " (" + s.Reason + ")"
		if len(s.Needs) > 0 {
			line += fmt.Sprintf(" needs %v", s.Needs)
		}
		if s.Auto {
			line += " auto"
		}
		lines = append(lines, line)
	}
	for _, n := range p.Notes {
		line := fmt.Sprintf("%s %s", outcomes[n.Outcome], n.ID.Name)
		if n.Reason != "" {
			line += " (" + n.Reason + ")"
		}
		if n.Err != nil {
			line += " [" + n.Err.Error() + "]"
		}
		lines = append(lines, line)
	}
	return lines
}

var outcomes = []string{"ready", "changed", "skipped", "deferred", "failed", "unwanted"}

func check(t *testing.T, name string, p *Plan, want []string) {
	t.Helper()
	if got := show(p); !slices.Equal(got, want) {
		t.Errorf("%s:\n  %s\nwant\n  %s", name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestVerbs(t *testing.T) {
	force := Options{Force: true}
	tests := []struct {
		name string
		plan *Plan
		want []string
	}{
		{"build", ForBuild(subjects("a", "b built", "c installed"), Options{}),
			[]string{"build a (not built)", "ready b (already built)", "ready c (already built)"}},
		{"build --force", ForBuild(subjects("a", "b built", "c installed"), force),
			[]string{"build a (not built)", "build b (built, but --force was given)", "build c (built, but --force was given)"}},
		{"build nothing", ForBuild(nil, Options{}), nil},
		{"install", ForInstall(subjects("a", "b built", "c installed"), Options{}),
			[]string{"build a (not built)", "install a (not installed) needs [0]", "install b (not installed)", "ready c (already installed)"}},
		{"install --force does not build again", ForInstall(subjects("b built", "c installed"), force),
			[]string{"install b (not installed)", "install c (installed, but --force was given)"}},
		{"install what lost its build", ForInstall(subjects("a active"), Options{}), []string{"ready a (already installed)"}},
		{"uninstall", ForUninstall(subjects("a", "b built", "c installed")),
			[]string{"uninstall c (installed)", "ready a (not installed)", "ready b (not installed)"}},
		{"unbuild", ForUnbuild(subjects("a", "b built", "c installed")),
			[]string{"unbuild b (built)", "uninstall c (installed)", "unbuild c (built) needs [1]",
				"ready a (not installed)", "ready a (not built)", "ready b (not installed)"}},
		{"unbuild what lost its build", ForUnbuild(subjects("a active")),
			[]string{"uninstall a (installed)", "ready a (not built)"}},
		{"remove", ForRemove(subject("a").ID, subjects("a installed", "a built", "a"), false),
			[]string{"uninstall a (installed)", "unbuild a (built) needs [0]", "unbuild a (built)", "forget a@ (no build is left) needs [1 2]",
				"ready a (not installed)", "ready a (not installed)", "ready a (not built)"}},
		{"remove what lost its build", ForRemove(subject("a").ID, subjects("a active"), false),
			[]string{"uninstall a (installed)", "forget a@ (no build is left) needs [0]", "ready a (not built)"}},
		{"remove with builds elsewhere", ForRemove(subject("a").ID, subjects("a installed"), true),
			[]string{"uninstall a (installed)", "unbuild a (built) needs [0]", "ready a (still built for other kernels, which --all includes)"}},
		{"sign", ForSign(subjects("a", "b built", "c installed"), "CN=me"),
			[]string{"sign b (to be signed by CN=me)", "sign c (to be signed by CN=me)", "ready a (not built)"}},
		{"remove without kernels", ForRemove(subject("a").ID, nil, false), []string{"forget a@ (no build is left)"}},
	}
	for _, test := range tests {
		check(t, test.name, test.plan, test.want)
		backwards(t, test.plan)
	}
}

// candidate reads "NAME [STATE] [: DEPENDS...]".
func candidate(s string) Candidate {
	head, depends, _ := strings.Cut(s, ":")
	return Candidate{Subject: subject(strings.TrimSpace(head)), Wanted: true, Depends: strings.Fields(depends)}
}

func TestAutoinstall(t *testing.T) {
	with := func(s string, change func(*Candidate)) Candidate {
		c := candidate(s)
		change(&c)
		return c
	}
	excluded := func(c *Candidate) { c.Excluded = "BUILD_EXCLUSIVE_ARCH" }
	unwanted := func(c *Candidate) { c.Wanted = false }
	bad := func(c *Candidate) { c.Err = errors.New("bad conf") }
	noHeaders := exit.Errorf(exit.NoHeaders, "no headers")
	tests := []struct {
		name       string
		candidates []Candidate
		headers    error
		want       []string
	}{
		{"nothing", nil, nil, nil},
		{"in the order of the tree", []Candidate{candidate("b"), candidate("a built"), candidate("c installed")}, nil,
			[]string{"build b (not built) auto", "install b (not installed) needs [0] auto", "install a (not installed) auto", "ready c (already installed)"}},
		{"dependencies come first", []Candidate{candidate("a: b"), candidate("b: c"), candidate("c")}, nil,
			[]string{"build c (not built) auto", "install c (not installed) needs [0] auto",
				"build b (not built) needs [1] auto", "install b (not installed) needs [1 2] auto",
				"build a (not built) needs [3] auto", "install a (not installed) needs [3 4] auto"}},
		{"a round takes what was ready when it began", []Candidate{candidate("a built: z"), candidate("b built"), candidate("c built: b"), candidate("z built")}, nil,
			[]string{"install b (not installed) auto", "install z (not installed) auto",
				"install a (not installed) needs [1] auto", "install c (not installed) needs [0] auto"}},
		{"several dependencies", []Candidate{candidate("a built: b c d"), candidate("b built"), candidate("c installed"), candidate("d built")}, nil,
			[]string{"install b (not installed) auto", "install d (not installed) auto", "install a (not installed) needs [0 1] auto", "ready c (already installed)"}},
		{"installed without a build counts", []Candidate{candidate("a built: b"), candidate("b active")}, nil,
			[]string{"install a (not installed) auto", "ready b (already installed)"}},
		{"installed is not asked for its conf", []Candidate{with("a installed", bad), with("b installed", unwanted), with("c installed", excluded)}, nil,
			[]string{"ready a (already installed)", "ready b (already installed)", "ready c (already installed)"}},
		{"exclusion satisfies dependants", []Candidate{candidate("a built: x"), with("x", excluded)}, nil,
			[]string{"install a (not installed) auto", "skipped x (BUILD_EXCLUSIVE_ARCH)"}},
		{"an unwanted one does not", []Candidate{candidate("a: x"), with("x", unwanted)}, nil,
			[]string{"unwanted x (AUTOINSTALL is not set in its dkms.conf)", "failed a [a/1: kernel 6.1: needs x, which is not installed]"}},
		{"unwanted comes before excluded", []Candidate{candidate("a: x"), with("x", func(c *Candidate) { unwanted(c); excluded(c) })}, nil,
			[]string{"unwanted x (AUTOINSTALL is not set in its dkms.conf)", "failed a [a/1: kernel 6.1: needs x, which is not installed]"}},
		{"a bad conf spoils only its dependants", []Candidate{candidate("a: x"), candidate("b built"), with("x", bad)}, nil,
			[]string{"install b (not installed) auto", "failed x [bad conf]", "failed a [a/1: kernel 6.1: needs x, which is not installed]"}},
		{"itself", []Candidate{candidate("a: a")}, nil, []string{"failed a [a/1: kernel 6.1: needs a, which is not installed]"}},
		{"circle", []Candidate{candidate("a: b"), candidate("b: c"), candidate("c: a"), candidate("d built")}, nil,
			[]string{"install d (not installed) auto", "failed a [a/1: kernel 6.1: needs b, which is not installed]",
				"failed b [b/1: kernel 6.1: needs c, which is not installed]", "failed c [c/1: kernel 6.1: needs a, which is not installed]"}},
		{"unknown", []Candidate{candidate("a: x"), candidate("b: x y"), candidate("c: x y z")}, nil,
			[]string{"deferred a (needs x, which is not registered with dkms)", "deferred b (needs x and y, which are not registered with dkms)",
				"deferred c (needs x, y and z, which are not registered with dkms)"}},
		{"unknown and known", []Candidate{candidate("a: x b"), candidate("b: x")}, nil,
			[]string{"failed a [a/1: kernel 6.1: needs b, which is not installed]", "deferred b (needs x, which is not registered with dkms)"}},
		{"no headers", []Candidate{candidate("a"), candidate("b built"), candidate("c built: a"), candidate("d: b")}, noHeaders,
			[]string{"install b (not installed) auto", "failed a [no headers]", "failed d [no headers]", "failed c [c/1: kernel 6.1: needs a, which is not installed]"}},
		{"a build that is no longer good", []Candidate{with("a", func(c *Candidate) { c.Stale = "the headers have changed" }), with("b: a", func(c *Candidate) { c.Stale = "its sources have changed" })}, nil,
			[]string{"build a (the headers have changed) auto", "install a (the headers have changed) needs [0] auto",
				"build b (its sources have changed) needs [1] auto", "install b (its sources have changed) needs [1 2] auto"}},
		{"named twice", []Candidate{candidate("a built: b b"), candidate("b built")}, nil,
			[]string{"install b (not installed) auto", "install a (not installed) needs [0 0] auto"}},
	}
	for _, test := range tests {
		p := ForAutoinstall(test.candidates, test.headers)
		check(t, test.name, p, test.want)
		backwards(t, p)
		complete(t, test.candidates, p)
	}
}

func TestAutoinstallStatus(t *testing.T) {
	p := ForAutoinstall([]Candidate{candidate("a: a")}, nil)
	if len(p.Notes) != 1 || exit.Status(p.Notes[0].Err) != exit.DependsMissing {
		t.Errorf("notes are %+v; want one with status 13", p.Notes)
	}
}

func TestAppend(t *testing.T) {
	p := ForAutoinstall([]Candidate{candidate("a: b"), candidate("b")}, nil)
	other := []Candidate{candidate("a: b"), candidate("b"), candidate("c: x")}
	for i := range other {
		other[i].Target.Kernel = "6.2"
	}
	second := ForAutoinstall(other, nil)
	before := show(second)
	p.Append(second)
	check(t, "Append", p, []string{
		"build b (not built) auto", "install b (not installed) needs [0] auto", "build a (not built) needs [1] auto", "install a (not installed) needs [1 2] auto",
		"build b@6.2 (not built) auto", "install b@6.2 (not installed) needs [4] auto", "build a@6.2 (not built) needs [5] auto", "install a@6.2 (not installed) needs [5 6] auto",
		"deferred c (needs x, which is not registered with dkms)",
	})
	check(t, "the appended plan", second, before)
	p.Append(&Plan{})
	backwards(t, p)
	if i := p.Add(Step{Kind: Forget}); i != len(p.Steps)-1 {
		t.Errorf("Add = %d; want the index of the new step", i)
	}
}

// backwards checks that steps can be carried out from first to last.
func backwards(t *testing.T, p *Plan) {
	t.Helper()
	for i, s := range p.Steps {
		for _, n := range s.Needs {
			if n < 0 || n >= i {
				t.Errorf("step %d needs step %d: %v", i, n, show(p))
			}
		}
	}
}

// complete checks that every candidate ends in one chain of steps or in one
// note, and that a chain waits for what its module depends on.
func complete(t *testing.T, candidates []Candidate, p *Plan) {
	t.Helper()
	last := map[string]int{} // the step that installs a module
	for i, s := range p.Steps {
		if s.Kind == Install {
			last[s.ID.Name] = i
		}
	}
	for _, c := range candidates {
		kinds := []Kind{}
		for _, s := range p.Steps {
			if s.ID == c.ID {
				kinds = append(kinds, s.Kind)
			}
		}
		notes := 0
		for _, n := range p.Notes {
			if n.ID == c.ID {
				notes++
			}
		}
		chain := []Kind{Build, Install}
		if c.Built {
			chain = chain[1:]
		}
		if !slices.Equal(kinds, chain) && len(kinds) > 0 || notes+min(len(kinds), 1) != 1 {
			t.Errorf("%s has the steps %v and %d notes: %v", c.ID.Name, kinds, notes, show(p))
		}
		if len(kinds) == 0 {
			continue
		}
		for _, s := range p.Steps {
			for _, d := range c.Depends {
				if dep, steps := last[d]; s.ID == c.ID && steps && !slices.Contains(s.Needs, dep) {
					t.Errorf("%s of %s does not wait for %s: %v", s.Kind, s.ID.Name, d, show(p))
				}
			}
		}
	}
}

// random candidates: some depend on themselves, on each other or on nothing
// that is there.
func random(r *rand.Rand) []Candidate {
	list := make([]Candidate, 1+r.IntN(8))
	for i := range list {
		list[i] = candidate(fmt.Sprintf("m%d %s", i, []string{"", "built", "installed", "active"}[r.IntN(4)]))
		c := &list[i]
		c.Wanted = r.IntN(6) > 0
		if r.IntN(6) == 0 {
			c.Excluded = "excluded"
		}
		if r.IntN(8) == 0 {
			c.Err = errors.New("bad")
		}
		for range r.IntN(3) {
			c.Depends = append(c.Depends, fmt.Sprintf("m%d", r.IntN(len(list)+1)))
		}
	}
	return list
}

func TestAutoinstallProperties(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		candidates := random(r)
		var headers error
		if r.IntN(4) == 0 {
			headers = errors.New("no headers")
		}
		p := ForAutoinstall(candidates, headers)
		backwards(t, p)
		complete(t, candidates, p)
		if !reflect.DeepEqual(p, ForAutoinstall(candidates, headers)) {
			t.Error("the same facts make another plan")
		}
		satisfied(t, candidates, p)
		for _, s := range p.Steps {
			if s.Kind == Build && headers != nil {
				t.Errorf("without headers %s is built", s.ID.Name)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, candidates)
		}
	}
}

// satisfied checks the notes on dependencies from the other end: who is failed
// or deferred for a dependency has one that nothing satisfies.
func satisfied(t *testing.T, candidates []Candidate, p *Plan) {
	t.Helper()
	ok := map[string]bool{}
	for _, s := range p.Steps {
		ok[s.ID.Name] = true
	}
	for _, n := range p.Notes {
		ok[n.ID.Name] = ok[n.ID.Name] || n.Outcome == Ready || n.Outcome == Skipped
	}
	for _, c := range candidates {
		missing := slices.ContainsFunc(c.Depends, func(d string) bool { return !ok[d] })
		i := slices.IndexFunc(p.Notes, func(n Note) bool { return n.ID == c.ID })
		waits := i >= 0 && (p.Notes[i].Outcome == Deferred || exit.Status(p.Notes[i].Err) == exit.DependsMissing)
		if waits && !missing {
			t.Errorf("%s waits though all it depends on is there: %v", c.ID.Name, show(p))
		}
		if i < 0 && missing {
			t.Errorf("%s is installed without %v: %v", c.ID.Name, c.Depends, show(p))
		}
	}
}

func TestOnly(t *testing.T) {
	candidates := []Candidate{candidate("a"), candidate("b: a"), candidate("c: b"), candidate("d"), candidate("e built")}
	for name, want := range map[string][]string{
		"b": {"build a (not built) auto", "install a (not installed) needs [0] auto", "build b (not built) needs [1] auto",
			"install b (not installed) needs [1 2] auto", "build c (not built) needs [3] auto", "install c (not installed) needs [3 4] auto"},
		"e": {"install e (not installed) auto"},
		"x": nil,
	} {
		p := ForAutoinstall(candidates, nil)
		p.Only(func(id tree.ID) bool { return id.Name == name })
		check(t, "only "+name, p, want)
		backwards(t, p)
	}
}
