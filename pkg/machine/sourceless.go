package machine

import (
	"context"
	"slices"

	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

// ofBroken is the verdict on a version without sources: what is installed of it
// serves the kernel as long as nothing has to be built.
func ofBroken(ctx context.Context, f *Facts, id tree.ID, t tree.Target, required bool) Verdict {
	err := f.m.Broken(id)
	v := Verdict{ID: id, Health: Health{State: BrokenSource, Reason: err.Error(), Hint: exit.Hint(err)}}
	if mod := f.Module(Subject{id, t}); mod.Active && f.serves(ctx, mod, required).OK() {
		v.State = Ready
	}
	return v
}

// restored are the verdicts on packages that have no version with sources, of
// which an undo has brought back an installed one: nobody can build it again.
func restored(ctx context.Context, f *Facts, others []Verdict, t tree.Target, required bool) (list []Verdict) {
	for _, v := range f.Registered() {
		mod := f.Module(Subject{v.ID, t})
		if v.State != tree.Restored || !mod.Active || slices.ContainsFunc(others, func(o Verdict) bool { return o.Name == v.ID.Name }) {
			continue
		}
		h := f.serves(ctx, mod, required)
		if !h.OK() && h.Hint == "" {
			h.Hint = f.WithoutSources(mod.Subject)
		}
		list = append(list, Verdict{ID: v.ID, Health: h})
	}
	return list
}

// WithoutSources is the next step for a version that has to be built again, and
// whose sources are not there.
func (f *Facts) WithoutSources(s Subject) string {
	return "put its sources into " + f.m.Tree.Sources(s.ID) + " and run: dkms install " + s.ID.String() + " -k " + f.m.KernelArg(s.Target)
}
