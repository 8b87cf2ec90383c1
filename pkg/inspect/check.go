// Package inspect has the verbs that only report: the state of modules, what is
// wrong with a machine, the content of a log, the faults of a source directory.
//
// It guarantees that asking changes nothing, since it gets nothing that can
// write, and that all answers come from the same facts.
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
// are an interface; see dkms-json(5).
type Verdict struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// Next and Running mark the kernel that boots next and the one that runs.
	Next    bool `json:"next"`
	Running bool `json:"running"`
	// Headers says that modules can be built for the kernel here.
	Headers bool `json:"headers"`
	// Safe says that every module that belongs to the kernel is installed,
	// intact, and will be loaded.
	Safe    bool            `json:"safe"`
	Modules []ModuleVerdict `json:"modules"`
	// SignaturesRequired says that this machine loads only signed modules.
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

// ModuleVerdict is the state of one module for a kernel.
type ModuleVerdict struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// State is a [machine.State].
	State  machine.State `json:"state"`
	Reason string        `json:"reason,omitempty"`
	Hint   string        `json:"hint,omitempty"`
	// Essential is why a kernel without the module is of no use; it is empty if
	// it is of use.
	Essential string `json:"essential,omitempty"`

	// short is Reason without the file name, so that modules with the same
	// reason can share a line.
	short string
	// newer is [machine.Verdict.Newer].
	newer *machine.Verdict
}

func (t *teller) moduleVerdict(ctx context.Context, v machine.Verdict, k tree.Target) ModuleVerdict {
	m := ModuleVerdict{Module: v.Name, Version: v.Version, State: v.State, Reason: v.Why(), Hint: v.Hint, short: v.Why(), newer: v.Newer}
	m.Essential = machine.Essential(ctx, t.facts, machine.Subject{ID: v.ID, Target: k})
	if v.State == machine.Untrusted {
		m.short = strings.TrimPrefix(v.Reason, "is ")
	}
	return m
}

func (v ModuleVerdict) bad() bool { return machine.Health{State: v.State}.Bad() }

func (v ModuleVerdict) id() tree.ID { return tree.ID{Name: v.Module, Version: v.Version} }

// checkSchema is the version of the JSON that check prints.
const checkSchema = 1

// checked is what check prints as JSON.
type checked struct {
	Schema  int       `json:"schema"`
	Kernels []Verdict `json:"kernels"`
	Next    nextBoot  `json:"next"`
	Restart Answer    `json:"restart"`
	// Guard is what the boot guard has done, or nil.
	Guard *machine.BootGuard `json:"guard,omitempty"`
}

// Check reports, for the named kernels or every kernel of the machine, whether
// it is safe to boot. Unless kernels were named, it also reports whether it is
// safe to restart the machine. The status is 0 when all kernels are safe, and
// 11 otherwise.
func Check(ctx context.Context, m *machine.Machine, q Query) (exit.Code, error) {
	t, err := newTeller(m, q)
	if err != nil {
		return 0, err
	}
	verdicts, err := t.verdicts(ctx)
	if err != nil {
		return 0, err
	}
	code := exit.OK
	if slices.ContainsFunc(verdicts, func(v Verdict) bool { return !v.Safe }) {
		code = exit.SomeFailed
	}
	r := newRestart(t.facts.Boot().Next, verdicts)
	guard, err := machine.ReadBootGuard(m)
	if err != nil {
		m.Report.Warnf("%v", err)
	}
	switch {
	case q.JSON:
		return code, m.Report.JSON(checked{checkSchema, verdicts, r.next(), r.Answer, guard})
	case q.Quiet:
		return code, nil
	}
	for _, v := range verdicts {
		t.printVerdict(&v)
	}
	if len(q.Choice.Kernels) == 0 {
		if guard != nil {
			m.Report.Result("boot guard: " + guard.Line())
		}
		m.Report.Result(r.line())
		m.Report.Detailf("%s", r.source())
	}
	return code, nil
}

// verdicts returns the verdicts on the named kernels, or on every kernel of the
// machine.
func (t *teller) verdicts(ctx context.Context) ([]Verdict, error) {
	choice := t.Choice
	choice.Every = false // without -k, every kernel is meant already
	targets, err := t.Targets(choice, t.bootable)
	if err != nil {
		return nil, err
	}
	var list []Verdict
	for _, k := range targets {
		list = append(list, t.verdictOn(ctx, k))
	}
	return list, nil
}

// bootable returns the kernels of the machine: the one that boots next, the
// running one, then the others from the newest to the oldest.
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

// kernels returns the kernels of the machine, oldest first. Where no kernel can
// be started, as in a container that builds for other machines, it returns the
// kernels with headers.
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
		v.Modules = append(v.Modules, t.moduleVerdict(ctx, mod, k))
		v.Safe = v.Safe && !mod.Bad()
	}
	return v
}

// Answer says whether it is safe to restart the machine.
type Answer string

// The answers.
const (
	CanRestart    Answer = "safe"
	CannotRestart Answer = "unsafe"
	NobodyKnows   Answer = "unknown"
)

// restart is the answer to "is it safe to restart this machine".
type restart struct {
	Answer
	boot.Next
	// verdicts are the verdicts on the kernels that may boot next.
	verdicts []*Verdict
}

// newRestart determines whether it is safe to restart the machine. The kernel
// that boots next once and the kernel that boots after that must both be safe.
// Where the next kernel is unknown, all kernels must be safe.
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
