package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dkms/pkg/machine"
)

// printVerdict prints the block of a kernel: the verdict, the modules that are
// not ready with their next steps, and the number of all other modules.
func (t *teller) printVerdict(v *Verdict) {
	t.Report.Result(v.head())
	for _, line := range t.notReady(v) {
		t.Report.Result("  " + line)
	}
	if rest := v.rest(); rest != "" {
		t.Report.Result("  " + rest)
	}
	for _, mod := range v.Modules {
		if !mod.told() {
			t.Report.Detailf("%s: %s: %s%s%s", v.Kernel, mod.id(), mod.State, after(": ", mod.Reason), after("; essential: ", mod.Essential))
		}
	}
}

// head returns the verdict on a kernel. Scripts match the text before the
// marks.
func (v *Verdict) head() string {
	text := v.Kernel + ": safe to boot"
	if n := v.bad(); n > 0 {
		text = fmt.Sprintf("%s: not safe to boot: %s not ready", v.Kernel, ofModules(n, len(v.Modules)))
	}
	return text + v.marks()
}

// marks returns the properties of a kernel in parentheses, or "".
func (v *Verdict) marks() string {
	var marks []string
	if v.Next {
		marks = append(marks, "boots next")
	}
	if v.Running {
		marks = append(marks, "running")
	}
	if !v.Headers {
		marks = append(marks, "no headers")
	}
	if len(marks) == 0 {
		return ""
	}
	return " (" + strings.Join(marks, ", ") + ")"
}

// told reports whether a module has a line of its own: either it is not ready,
// or another version than the intended one is ready.
func (v ModuleVerdict) told() bool { return v.bad() || v.State == machine.Ready && v.Reason != "" }

// group is a set of modules with the same state and reason.
type group struct {
	ids          []string
	state        machine.State
	reason, hint string
	essential    string
}

// groups returns the modules of a kernel that have a line, grouped by state and
// reason.
func (t *teller) groups(v *Verdict) []*group {
	var list []*group
	for _, mod := range v.Modules {
		if !mod.told() {
			continue
		}
		g := &group{ids: []string{mod.id().String()}, state: mod.State, hint: mod.Hint, essential: mod.Essential}
		g.reason = t.Brief(machine.Subject{ID: mod.id(), Target: v.target()}, mod.short)
		if last := g.in(list); last != nil {
			last.ids = append(last.ids, g.ids...)
			continue
		}
		list = append(list, g)
	}
	slices.SortStableFunc(list, func(a, b *group) int { return cmp.Compare(a.order(), b.order()) })
	return list
}

// order sorts the groups of a kernel: what the kernel is of no use without, what
// else is not ready, and what is.
func (g *group) order() int {
	switch bad := (machine.Health{State: g.state}).Bad(); {
	case bad && g.essential != "":
		return 0
	case bad:
		return 1
	}
	return 2
}

// maxGroups is how many groups of a kernel are listed unless the kernel is named,
// so that all kernels fit on a screen.
const maxGroups = 3

// notReady returns the lines of the groups of a kernel, or of the first of many.
func (t *teller) notReady(v *Verdict) (lines []string) {
	groups, more := t.groups(v), 0
	if len(groups) > maxGroups+1 && len(t.Choice.Kernels) == 0 {
		for _, g := range groups[maxGroups:] {
			more += len(g.ids)
		}
		groups = groups[:maxGroups]
	}
	for _, g := range groups {
		lines = append(lines, g.lines()...)
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more: dkms check -k %s", more, t.KernelArg(v.target())))
	}
	return lines
}

// in returns the group of list with the same state and reasons as g.
func (g *group) in(list []*group) *group {
	for _, o := range list {
		if o.state == g.state && o.reason == g.reason && o.hint == g.hint && o.essential == g.essential {
			return o
		}
	}
	return nil
}

// maxNamed is how many modules of a group are listed by name.
const maxNamed = 3

// names lists the modules of a group, or the first of many and their number.
func (g *group) names() string {
	if len(g.ids) > maxNamed+1 {
		return fmt.Sprintf("%s and %d more", strings.Join(g.ids[:maxNamed], ", "), len(g.ids)-maxNamed)
	}
	return strings.Join(g.ids, ", ")
}

func (g *group) lines() []string {
	list := []string{g.names() + ": " + string(g.state) + after(": ", g.reason)}
	if g.essential != "" {
		list = append(list, "  essential: "+g.essential)
	}
	if g.hint != "" {
		list = append(list, "  next: "+strings.ReplaceAll(g.hint, "\n", "; "))
	}
	return list
}

// rest counts the modules of a kernel that have no line.
func (v *Verdict) rest() string {
	if len(v.Modules) == 0 {
		return "no module is registered"
	}
	counts := map[machine.State]int{}
	for _, mod := range v.Modules {
		if !mod.told() {
			counts[mod.State]++
		}
	}
	var list []string
	for _, of := range []struct {
		state machine.State
		what  string
	}{{machine.Ready, "ready"}, {machine.Excluded, "not meant for this kernel"}, {machine.Unwanted, "not installed automatically"}} {
		if n := counts[of.state]; n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, of.what))
		}
	}
	return strings.Join(list, ", ")
}

// line returns the answer for people.
func (r *restart) line() string {
	switch {
	case r.Answer == CanRestart && r.Known():
		return fmt.Sprintf("safe to restart: %s%s, and every module is ready", r.Release, r.boots())
	case r.Answer == CanRestart:
		return "safe to restart: " + r.oneOf("the only kernel is ready", "every kernel is ready")
	case r.Answer == CannotRestart && r.only(machine.Confirm):
		return "restart and confirm the key in the blue screen: no module loads before that"
	case r.Answer == CannotRestart && r.only(machine.TakeOver):
		return "restart through shim, so that the kernel takes the enrolled key over: no module loads before that"
	case r.Answer == CannotRestart && r.Known():
		return fmt.Sprintf("not safe to restart: %s%s, and %s", r.Release, r.boots(), r.lacking())
	case r.Answer == CannotRestart:
		return "not safe to restart: " + r.oneOf("the only kernel is not ready", "no kernel is ready")
	case r.Known():
		return fmt.Sprintf("unknown whether it is safe to restart: %s boots next, and it is not installed here", r.Release)
	}
	return "unknown whether it is safe to restart: which kernel boots next is unknown: " + r.Why
}

// only reports whether a restart is all that is needed: hint, which says how to
// restart, is the next step of every module that is not ready.
func (r *restart) only(hint string) bool {
	for _, v := range r.verdicts {
		for _, mod := range v.Modules {
			if mod.bad() && mod.Hint != hint {
				return false
			}
		}
	}
	return true
}

// oneOf returns one for a single kernel. For several it returns several, with a
// note that any of them may boot next.
func (r *restart) oneOf(one, several string) string {
	if len(r.verdicts) == 1 {
		return one
	}
	return several + " (which one boots next is unknown)"
}

func (r *restart) boots() string {
	switch {
	case r.Once && r.Then != "" && r.Then != r.Release:
		return " boots next, once, and " + r.Then + " after that"
	case r.Once:
		return " boots next, once"
	}
	return " boots next"
}

// lacking returns how many modules of the next kernels are not ready.
func (r *restart) lacking() string {
	var list []string
	for _, v := range r.verdicts {
		n := v.bad()
		if n == 0 {
			continue
		}
		of := ""
		if len(r.verdicts) > 1 {
			of = " for " + v.Kernel
		}
		list = append(list, ofModules(n, len(v.Modules))+" not ready"+of)
	}
	return strings.Join(list, " and ")
}

// ofModules says that n modules of all are something.
func ofModules(n, all int) string {
	switch {
	case all == 1:
		return "the only module is"
	case n == 1:
		return fmt.Sprintf("1 of %d modules is", all)
	}
	return fmt.Sprintf("%d of %d modules are", n, all)
}

// source returns how the kernel that boots next was determined.
func (r *restart) source() string {
	if !r.Known() {
		return "which kernel boots next is unknown: " + r.Why
	}
	return r.Release + " boots next: " + r.Why
}

// nextBoot is the kernel that boots next, as JSON.
type nextBoot struct {
	// Kernel is empty where the kernel is not known.
	Kernel string `json:"kernel"`
	// Once says that Kernel boots only once; Then is the kernel after that.
	Once   bool   `json:"once"`
	Then   string `json:"then"`
	Loader string `json:"loader"`
	Why    string `json:"why"`
}

func (r *restart) next() nextBoot {
	return nextBoot{Kernel: r.Release, Once: r.Once, Then: r.Then, Loader: r.Loader, Why: r.Why}
}
