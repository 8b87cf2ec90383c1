package index

import "slices"

// graph holds the modules that each module imports from, in the order of the
// first use.
type graph [][]int

// ranking is depmod's order of a graph: a module comes before the modules that
// it uses.
type ranking struct {
	rank []int
	// pushed has, for each module, the modules that depmod's walk reached from
	// it, where there are several.
	pushed [][]int
}

// walk sorts the modules of a graph into depmod's order. ok is false where
// modules depend on each other in a cycle.
func (g graph) walk() (r ranking, ok bool) {
	users := make([]int, len(g))
	for _, deps := range g {
		for _, d := range deps {
			users[d]++
		}
	}
	var stack []int
	for m, n := range users {
		if n == 0 {
			stack = append(stack, m)
		}
	}
	r = ranking{rank: make([]int, len(g)), pushed: make([][]int, len(g))}
	next := 0
	for len(stack) > 0 {
		m := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		r.rank[m] = next
		next++
		bottom := len(stack)
		for _, d := range g[m] {
			if users[d]--; users[d] == 0 {
				stack = append(stack, d)
			}
		}
		if len(stack)-bottom > 1 { // the order of a single module does not matter
			r.pushed[m] = slices.Clone(stack[bottom:])
		}
	}
	return r, next == len(g)
}

// closures returns all modules that each module needs, sorted by r.
func (g graph) closures(r ranking) [][]int {
	order := make([]int, len(g))
	for m, rank := range r.rank {
		order[rank] = m
	}
	all := make([][]int, len(g))
	var need []int
	seen := newMarks(len(g))
	for _, m := range slices.Backward(order) {
		seen.clear()
		need = need[:0]
		for _, d := range g[m] {
			if seen.mark(d) {
				need = append(need, d)
			}
			for _, e := range all[d] {
				if seen.mark(e) {
					need = append(need, e)
				}
			}
		}
		slices.SortFunc(need, func(a, b int) int { return r.rank[a] - r.rank[b] })
		all[m] = slices.Clone(need)
	}
	return all
}

// marks is a set of small numbers that can be cleared at no cost.
type marks struct {
	at  []int
	now int
}

func newMarks(n int) *marks { return &marks{at: make([]int, n)} }

func (m *marks) clear() { m.now++ }

// mark adds a number and reports whether it is new.
func (m *marks) mark(i int) bool {
	if m.at[i] == m.now {
		return false
	}
	m.at[i] = m.now
	return true
}

// reduce derives the direct dependencies from the lines of modules.dep, which
// list all dependencies: a dependency is direct if no other one implies it.
// Read backwards, a line lists them in the order of their first use, as far as
// that order influences depmod's.
func (l *loaded) reduce() error {
	g := make(graph, len(l.modules))
	seen := newMarks(len(l.modules))
	for m := range l.modules {
		seen.clear()
		for _, d := range l.modules[m].deps {
			if !seen.mark(d) {
				continue
			}
			g[m] = append(g[m], d)
			for _, e := range l.modules[d].deps {
				seen.mark(e)
			}
		}
		slices.Reverse(g[m])
	}
	r, ok := g.walk()
	if !ok {
		return doubt("modules need each other")
	}
	for m, deps := range g.closures(r) {
		if !slices.Equal(deps, l.modules[m].deps) {
			return doubt("modules.dep has the dependencies of %s in an unknown order", l.modules[m].name)
		}
	}
	l.reduced, l.pushed = g, r.pushed
	return nil
}
