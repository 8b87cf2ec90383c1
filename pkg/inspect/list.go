package inspect

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/tree"
)

// listSchema is the version of the JSON that list prints.
const listSchema = 1

// table has a row for each module and a column for each kernel.
type table struct {
	verdicts []Verdict
	rows     []row
}

// row holds the states of one version, one for each kernel.
type row struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// States are in the order of the kernels.
	States []machine.State `json:"states"`
}

// List shows the state of modules for the kernels of the machine.
func List(ctx context.Context, m *machine.Machine, q Query) error {
	t, err := newTeller(m, q)
	if err != nil {
		return err
	}
	if q.Name != "" {
		if _, err := t.named("list"); err != nil {
			return err
		}
	}
	targets, err := m.Targets(q.Choice, t.listed)
	if err != nil {
		return err
	}
	all := &table{}
	for _, k := range targets {
		all.verdicts = append(all.verdicts, t.verdictOn(ctx, k))
	}
	all.rows = t.rows(all.verdicts)
	if q.JSON {
		return m.Report.JSON(map[string]any{"schema": listSchema, "kernels": all.kernels(), "modules": append([]row{}, all.rows...)})
	}
	all.print(m.Report)
	return nil
}

// listed returns the kernels of the machine as check orders them. Where none can
// be booted, as in a container that builds for other machines, it returns those
// with headers, newest first.
func (t *teller) listed() ([]string, error) {
	list, err := t.bootable()
	if err == nil {
		return list, nil
	}
	if list, err = t.kernels(); len(list) == 0 {
		return nil, exit.Errorf(exit.Usage, "no kernel is installed in %s or %s", t.Host.Root.InstallTree(), t.Host.Root.Path("/boot")).
			WithHint("dkms list -k RELEASE, or dkms status")
	}
	slices.Reverse(list)
	return list, err
}

// rows returns the requested versions. The version that counts for a kernel, and
// the newest one if an older one serves in its place, have the state that check
// reports; every other version is unwanted for that kernel.
func (t *teller) rows(verdicts []Verdict) []row {
	var list []row
	for _, v := range t.facts.Registered() {
		if !t.matches(v.ID) {
			continue
		}
		r := row{Module: v.ID.Name, Version: v.ID.Version}
		for _, on := range verdicts {
			r.States = append(r.States, on.state(v.ID))
		}
		list = append(list, r)
	}
	return list
}

// state is the state of a version for the kernel.
func (v *Verdict) state(id tree.ID) machine.State {
	for _, mod := range v.Modules {
		switch {
		case mod.id() == id:
			return mod.State
		case mod.newer != nil && mod.newer.ID == id:
			return mod.newer.State
		}
	}
	return machine.Unwanted
}

// listedKernel is a column, as JSON.
type listedKernel struct {
	Kernel  string `json:"kernel"`
	Arch    string `json:"arch"`
	Next    bool   `json:"next"`
	Running bool   `json:"running"`
	Headers bool   `json:"headers"`
}

func (t *table) kernels() []listedKernel {
	list := []listedKernel{}
	for _, v := range t.verdicts {
		list = append(list, listedKernel{v.Kernel, v.Arch, v.Next, v.Running, v.Headers})
	}
	return list
}

// signOf returns the sign of a state, which also tells states apart on a
// terminal without colours.
func signOf(s machine.State) report.Piece {
	switch s {
	case machine.Ready:
		return report.Piece{Text: "+", Colour: report.Good}
	case machine.Excluded:
		return report.Piece{Text: "-", Colour: report.Faint}
	case machine.Unwanted:
		return report.Piece{Text: ".", Colour: report.Faint}
	}
	return report.Piece{Text: "x " + string(s), Colour: report.Bad}
}

// print prints the kernels with their numbers, and below them one line for each
// version.
func (t *table) print(to *report.Reporter) {
	if len(t.rows) == 0 {
		to.Result("no module is registered")
		return
	}
	for i := range t.verdicts {
		v := &t.verdicts[i]
		to.Pieces(report.Piece{Text: fmt.Sprintf("%d: ", i+1)}, report.Piece{Text: v.Kernel}, report.Piece{Text: v.marks()})
	}
	names, widths := t.widths()
	head := strings.Repeat(" ", names)
	for i, w := range widths {
		head += "  " + padded(strconv.Itoa(i+1), w)
	}
	to.Result(strings.TrimRight(head, " "))
	for _, r := range t.rows {
		line := []report.Piece{{Text: padded(r.Module+"/"+r.Version, names)}}
		for i, s := range r.States {
			cell, end := signOf(s), ""
			if i < len(r.States)-1 {
				end = strings.Repeat(" ", widths[i]-len(cell.Text))
			}
			line = append(line, report.Piece{Text: "  "}, cell, report.Piece{Text: end})
		}
		to.Pieces(line...)
	}
	to.Pieces(report.Piece{Text: t.legend(), Colour: report.Faint})
}

// widths returns the widths of the column of names and of each kernel's column.
func (t *table) widths() (names int, kernels []int) {
	kernels = make([]int, len(t.verdicts))
	for i := range kernels {
		kernels[i] = len(strconv.Itoa(i + 1))
	}
	for _, r := range t.rows {
		names = max(names, len(r.Module)+1+len(r.Version))
		for i, s := range r.States {
			kernels[i] = max(kernels[i], len(signOf(s).Text))
		}
	}
	return names, kernels
}

func padded(s string, width int) string { return s + strings.Repeat(" ", width-len(s)) }

// legend explains the signs that the table uses.
func (t *table) legend() string {
	used := func(wanted func(machine.State) bool) bool {
		return slices.ContainsFunc(t.rows, func(r row) bool { return slices.ContainsFunc(r.States, wanted) })
	}
	is := func(s machine.State) func(machine.State) bool { return func(o machine.State) bool { return o == s } }
	var list []string
	for _, l := range []struct {
		text string
		used bool
	}{
		{"+ ready", used(is(machine.Ready))},
		{"- not for the kernel", used(is(machine.Excluded))},
		{". not wanted", used(is(machine.Unwanted))},
		{"x not ready, see dkms check", used(func(s machine.State) bool { return machine.Health{State: s}.Bad() })},
	} {
		if l.used {
			list = append(list, l.text)
		}
	}
	return strings.Join(list, "   ")
}
