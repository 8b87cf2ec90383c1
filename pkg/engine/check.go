package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/plan"
	"dkms/pkg/sign"
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
	// State is one of ready, skipped, unwanted, waiting, missing, failed,
	// outdated, damaged, unsigned, untrusted and broken; all from missing on
	// are bad.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

func (m ModuleVerdict) bad() bool {
	switch m.State {
	case "ready", "builds", "skipped", "unwanted", "waiting":
		return false
	}
	return true
}

// brief is the reason of m on one line, without what the line says already: of
// a compiler's message the first line, without the picture below it.
func (e *Engine) brief(m ModuleVerdict, kernel string) string {
	id := tree.ID{Name: m.Module, Version: m.Version}
	var list []string
	for i, line := range strings.Split(m.Reason, "\n") {
		line = strings.TrimPrefix(strings.TrimPrefix(line, id.String()+": "), "kernel "+kernel+": ")
		if i == 0 || strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.ReplaceAll(strings.Join(list, ": "), e.tree.ScratchDir(id)+"/", "")
}

// checkSchema is the version of the JSON that check prints.
const checkSchema = 1

// check tells, for every kernel or the named ones, whether it is safe to boot.
// The status is 0 when all are, and 11 when one is not.
func (e *Engine) check(ctx context.Context, req *Request) (exit.Code, error) {
	targets, err := e.targets(req, func() ([]string, error) {
		list := kernel.Installed(e.host.Root)
		if len(list) == 0 {
			return nil, exit.Errorf(exit.Usage, "no kernel in %s has headers: there is nothing to check", e.host.Root.InstallTree())
		}
		return list, nil
	})
	if err != nil {
		return 0, err
	}
	code := exit.OK
	var verdicts []Verdict
	for _, t := range targets {
		v, err := e.verdictOn(ctx, t)
		if err != nil {
			return 0, err
		}
		if !v.Safe {
			code = exit.SomeFailed
		}
		verdicts = append(verdicts, v)
	}
	if req.JSON {
		return code, e.resultJSON(map[string]any{"schema": checkSchema, "kernels": verdicts})
	}
	for _, v := range verdicts {
		e.printVerdict(v)
	}
	return code, nil
}

// resultJSON prints v as the one result of a command.
func (e *Engine) resultJSON(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	e.report.Result(string(data))
	return nil
}

func (e *Engine) printVerdict(v Verdict) {
	bad := 0
	for _, m := range v.Modules {
		line := fmt.Sprintf("%s: %s/%s: %s", v.Kernel, m.Module, m.Version, m.State)
		if m.Reason != "" {
			line += ": " + e.brief(m, v.Kernel)
		}
		if m.bad() {
			bad++
			if m.Hint != "" {
				line += " (" + strings.ReplaceAll(m.Hint, "\n", "; ") + ")"
			}
		}
		if m.State != "unwanted" {
			e.report.Result(line)
		}
	}
	if bad == 0 {
		e.report.Result(v.Kernel + ": safe to boot")
		return
	}
	e.report.Result(fmt.Sprintf("%s: not safe to boot: %d of %d modules are not ready", v.Kernel, bad, len(v.Modules)))
}

func (e *Engine) verdictOn(ctx context.Context, t tree.Target) (Verdict, error) {
	p, _, broken, err := e.planAutoinstall(ctx, []tree.Target{t}, false)
	if err != nil {
		return Verdict{}, err
	}
	return e.verdictFrom(t, p, broken), nil
}

// verdictFrom reads the verdict off what autoinstall plans for a kernel.
func (e *Engine) verdictFrom(t tree.Target, p *plan.Plan, broken []tree.ID) Verdict {
	v := Verdict{Kernel: t.Kernel, Arch: t.Arch, Safe: true, Modules: []ModuleVerdict{}}
	machine, _ := sign.Inspect(e.host.Root, nil, e.kernel(t).Config().Get)
	v.SignaturesRequired = machine.Enforced()
	for _, id := range broken {
		err := e.broken(id)
		v.add(ModuleVerdict{Module: id.Name, Version: id.Version, State: "broken", Reason: err.Error(), Hint: exit.Hint(err)})
	}
	keys := perTarget(e.usedKey)
	for _, n := range p.Notes {
		m := noteVerdict(n)
		if n.Outcome == plan.Ready && v.SignaturesRequired {
			e.checkSignature(n, keys, &m)
		}
		v.add(m)
	}
	for _, s := range p.Steps {
		if s.Kind == plan.Install {
			v.add(e.missing(s))
		}
	}
	return v
}

func (v *Verdict) add(m ModuleVerdict) {
	v.Modules = append(v.Modules, m)
	v.Safe = v.Safe && !m.bad()
}

func noteVerdict(n plan.Note) ModuleVerdict {
	m := ModuleVerdict{Module: n.ID.Name, Version: n.ID.Version, Reason: n.Reason}
	switch n.Outcome {
	case plan.Ready:
		m.State, m.Reason = "ready", ""
	case plan.Skipped:
		m.State = "skipped"
	case plan.Deferred:
		m.State = "waiting"
	case plan.Unwanted:
		m.State = "unwanted"
	default:
		m.State, m.Reason, m.Hint = "failed", n.Err.Error(), exit.Hint(n.Err)
	}
	return m
}

// missing is a module that autoinstall would install: it is not there, was
// built for other headers, damaged, or failed the last time.
func (e *Engine) missing(s plan.Step) ModuleVerdict {
	m := ModuleVerdict{Module: s.ID.Name, Version: s.ID.Version, State: "missing", Reason: s.Reason,
		Hint: "dkms autoinstall -k " + s.Target.Kernel}
	if e.tree.IsInstalled(s.ID, s.Target) {
		if s.Reason == headersChanged {
			m.State = "outdated"
			return m
		}
		m.State = "damaged"
		if have, err := e.tree.Manifest(s.ID, s.Target); s.Reason == "not installed" && err == nil && have != nil {
			file, why := e.installer.Damage(have)
			m.Reason = strings.TrimSpace(file + " " + why)
		}
		return m
	}
	if f := e.tree.Failure(s.ID, s.Target); f != nil {
		m.State, m.Reason, m.Hint = "failed", f.Message, f.Hint
	}
	return m
}
