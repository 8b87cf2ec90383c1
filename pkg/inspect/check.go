// Package inspect is what only tells: how modules stand, what is wrong with a
// machine, what a log or a source directory shows.
//
// It guarantees that nothing changes by asking, since it is given nothing that
// can write, and that all answers come from the same facts.
package inspect

import (
	"context"
	"fmt"
	"strings"

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
	// Safe says that every module that belongs to the kernel is installed,
	// whole, and will be loaded.
	Safe    bool            `json:"safe"`
	Modules []ModuleVerdict `json:"modules"`
	// SignaturesRequired says that this machine loads signed modules only.
	SignaturesRequired bool `json:"signatures_required"`
}

// ModuleVerdict is how one module stands for a kernel.
type ModuleVerdict struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// State is a [machine.State].
	State  machine.State `json:"state"`
	Reason string        `json:"reason,omitempty"`
	Hint   string        `json:"hint,omitempty"`
}

func newModuleVerdict(v machine.Verdict) ModuleVerdict {
	return ModuleVerdict{Module: v.Name, Version: v.Version, State: v.State, Reason: v.Why(), Hint: v.Hint}
}

func (v ModuleVerdict) bad() bool { return machine.Health{State: v.State}.Bad() }

func (v ModuleVerdict) id() tree.ID { return tree.ID{Name: v.Module, Version: v.Version} }

// checkSchema is the version of the JSON that check prints.
const checkSchema = 1

// Check tells, for every kernel or the named ones, whether it is safe to boot.
// The status is 0 when all are, and 11 when one is not.
func Check(ctx context.Context, m *machine.Machine, q Query) (exit.Code, error) {
	targets, err := m.Targets(q.Choice, func() ([]string, error) {
		list := kernel.Installed(m.Host.Root)
		if len(list) == 0 {
			return nil, exit.Errorf(exit.Usage, "no kernel in %s has headers: there is nothing to check", m.Host.Root.InstallTree())
		}
		return list, nil
	})
	if err != nil {
		return 0, err
	}
	t, err := newTeller(m, q)
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
	if q.JSON {
		return code, m.Report.JSON(map[string]any{"schema": checkSchema, "kernels": verdicts})
	}
	for _, v := range verdicts {
		t.printVerdict(v)
	}
	return code, nil
}

func (t *teller) verdictOn(ctx context.Context, k tree.Target) Verdict {
	v := Verdict{Kernel: k.Kernel, Arch: k.Arch, Safe: true, Modules: []ModuleVerdict{}, SignaturesRequired: t.facts.SignaturesRequired(k)}
	for _, mod := range t.facts.Verdicts(ctx, k) {
		v.Modules = append(v.Modules, newModuleVerdict(mod))
		v.Safe = v.Safe && !mod.Bad()
	}
	return v
}

func (t *teller) printVerdict(v Verdict) {
	bad := 0
	for _, mod := range v.Modules {
		line := fmt.Sprintf("%s: %s/%s: %s", v.Kernel, mod.Module, mod.Version, mod.State)
		if mod.Reason != "" {
			line += ": " + t.Brief(machine.Subject{ID: mod.id(), Target: tree.Target{Kernel: v.Kernel, Arch: v.Arch}}, mod.Reason)
		}
		if mod.bad() {
			bad++
			if mod.Hint != "" {
				line += " (" + strings.ReplaceAll(mod.Hint, "\n", "; ") + ")"
			}
		}
		if mod.State != machine.Unwanted {
			t.Report.Result(line)
		}
	}
	if bad == 0 {
		t.Report.Result(v.Kernel + ": safe to boot")
		return
	}
	t.Report.Result(fmt.Sprintf("%s: not safe to boot: %d of %d modules are not ready", v.Kernel, bad, len(v.Modules)))
}
