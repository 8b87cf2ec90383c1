// Package inspect is what only tells: how modules stand, what is wrong with a
// machine, what a log or a source directory shows.
//
// It guarantees that nothing changes by asking, since it is given nothing that
// can write, and that all answers come from the same facts.
package inspect

import (
	"context"
	"slices"
	"strings"

	"dkms/pkg/boot"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/tree"
)

// Verdict is the answer to "is it safe to boot this kernel". The JSON names
// are an interface; see dkms(8).
type Verdict struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// Next and Running mark the kernel that boots next and the one that runs.
	Next    bool `json:"next"`
	Running bool `json:"running"`
	// Headers says that modules can be built for the kernel here.
	Headers bool `json:"headers"`
	// Safe says that every module that belongs to the kernel is installed,
	// whole, and will be loaded.
	Safe    bool            `json:"safe"`
	Modules []ModuleVerdict `json:"modules"`
	// SignaturesRequired says that this machine loads signed modules only.
	SignaturesRequired bool `json:"signatures_required"`
}

// bad counts the modules that are not ready.
func (v *Verdict) bad() int {
	n := 0
	for _, mod := range v.Modules {
		if mod.bad() {
			n++
		}
	}
	return n
}

func (v *Verdict) target() tree.Target { return tree.Target{Kernel: v.Kernel, Arch: v.Arch} }

// ModuleVerdict is how one module stands for a kernel.
type ModuleVerdict struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// State is a [machine.State].
	State  machine.State `json:"state"`
	Reason string        `json:"reason,omitempty"`
	Hint   string        `json:"hint,omitempty"`

	// short is Reason without the file, where the reason is the same for all.
	short string
}

func newModuleVerdict(v machine.Verdict) ModuleVerdict {
	m := ModuleVerdict{Module: v.Name, Version: v.Version, State: v.State, Reason: v.Why(), Hint: v.Hint, short: v.Why()}
	if v.State == machine.Untrusted {
		m.short = strings.TrimPrefix(v.Reason, "is ")
	}
	return m
}

func (v ModuleVerdict) bad() bool { return machine.Health{State: v.State}.Bad() }

func (v ModuleVerdict) id() tree.ID { return tree.ID{Name: v.Module, Version: v.Version} }

// checkSchema is the version of the JSON that check prints.
const checkSchema = 1

// Check tells, for every kernel of the machine or the named ones, whether it is
// safe to boot and, unless kernels were named, whether the machine can be
// restarted. The status is 0 when all kernels are safe, and 11 when one is not.
func Check(ctx context.Context, m *machine.Machine, q Query) (exit.Code, error) {
	t, err := newTeller(m, q)
	if err != nil {
		return 0, err
	}
	q.Choice.Every = false // which is what no -k means already
	targets, err := m.Targets(q.Choice, t.bootable)
	if err != nil {
		return 0, err
	}
	code := exit.OK
	var verdicts []Verdict
	for _, k := range targets {
		v := t.verdictOn(ctx, k)
		if !v.Safe {
			code = exit.SomeFailed
		}
		verdicts = append(verdicts, v)
	}
	r := newRestart(t.facts.Boot().Next, verdicts)
	switch {
	case q.JSON:
		return code, m.Report.JSON(map[string]any{"schema": checkSchema, "kernels": verdicts, "next": r.next(), "restart": r.Answer})
	case q.Quiet:
		return code, nil
	}
	for _, v := range verdicts {
		t.printVerdict(&v)
	}
	if len(q.Choice.Kernels) == 0 {
		m.Report.Result(r.line())
		m.Report.Detailf("%s", r.source())
	}
	return code, nil
}

// bootable are the kernels of the machine: the one that boots next, the running
// one, and the others from the newest to the oldest.
func (t *teller) bootable() ([]string, error) {
	found := t.facts.Boot()
	var first, list []string
	for _, k := range slices.Backward(found.Kernels) {
		switch {
		case k.Next:
			first = slices.Insert(first, 0, k.Release)
		case k.Running:
			first = append(first, k.Release)
		default:
			list = append(list, k.Release)
		}
	}
	if list = append(first, list...); len(list) == 0 {
		return nil, exit.Errorf(exit.Usage, "no kernel is installed in %s or %s: there is nothing to check",
			t.Host.Root.InstallTree(), t.Host.Root.Path("/boot")).WithHint("dkms check -k RELEASE asks about one that only has headers here")
	}
	return list, nil
}

// kernels are the kernels of the machine, the oldest first, or those with
// headers where no kernel can be started, as in a container that builds for
// others.
func (t *teller) kernels() ([]string, error) {
	var list []string
	for _, k := range t.facts.Boot().Kernels {
		list = append(list, k.Release)
	}
	if len(list) == 0 {
		list = kernel.Installed(t.Host.Root)
	}
	return list, nil
}

func (t *teller) verdictOn(ctx context.Context, k tree.Target) Verdict {
	of, _ := t.facts.Boot().Find(k.Kernel)
	v := Verdict{
		Kernel: k.Kernel, Arch: k.Arch, Next: of.Next, Running: of.Running, Headers: t.Kernel(k).HasHeaders(),
		Safe: true, Modules: []ModuleVerdict{}, SignaturesRequired: t.facts.SignaturesRequired(k),
	}
	for _, mod := range t.facts.Verdicts(ctx, k) {
		v.Modules = append(v.Modules, newModuleVerdict(mod))
		v.Safe = v.Safe && !mod.Bad()
	}
	return v
}

// Answer is a word on whether the machine can be restarted.
type Answer string

// The answers.
const (
	CanRestart    Answer = "safe"
	CannotRestart Answer = "unsafe"
	NobodyKnows   Answer = "unknown"
)

// restart is the answer to "can this machine be restarted".
type restart struct {
	Answer
	boot.Next
	// verdicts are those on the kernels that may be booted next.
	verdicts []*Verdict
}

// newRestart finds out whether the machine can be restarted. What boots next
// once and what boots after that must both be safe and, where nobody knows what
// boots next, all kernels.
func newRestart(next boot.Next, verdicts []Verdict) *restart {
	r := &restart{Next: next, Answer: NobodyKnows}
	for i, v := range verdicts {
		if !next.Known() || v.Kernel == next.Release || v.Kernel == next.Then {
			r.verdicts = append(r.verdicts, &verdicts[i])
		}
	}
	safe, unsafe := 0, 0
	for _, v := range r.verdicts {
		if v.Safe {
			safe++
		} else {
			unsafe++
		}
	}
	switch {
	case unsafe == 0 && safe > 0:
		r.Answer = CanRestart
	case unsafe > 0 && (safe == 0 || next.Known()):
		r.Answer = CannotRestart
	}
	return r
}
