package plan

import (
	"slices"

	"dkms/pkg/tree"
)

// Only keeps the steps and notes about the wanted versions, the steps that
// those need, and the steps that need those.
func (p *Plan) Only(wanted func(tree.ID) bool) {
	keep := make([]bool, len(p.Steps))
	for i, s := range p.Steps { // a step needs earlier ones only
		keep[i] = wanted(s.ID) || slices.ContainsFunc(s.Needs, func(n int) bool { return keep[n] })
	}
	for i := len(p.Steps) - 1; i >= 0; i-- {
		for _, n := range p.Steps[i].Needs {
			keep[n] = keep[n] || keep[i]
		}
	}
	moved := make([]int, len(p.Steps))
	var steps []Step
	for i, s := range p.Steps {
		if !keep[i] {
			continue
		}
		moved[i] = len(steps)
		needs := make([]int, len(s.Needs))
		for j, n := range s.Needs {
			needs[j] = moved[n]
		}
		s.Needs = needs
		steps = append(steps, s)
	}
	p.Steps = steps
	p.Notes = slices.DeleteFunc(p.Notes, func(n Note) bool { return !wanted(n.ID) })
}
