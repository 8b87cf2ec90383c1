package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/history"
	"dkms/pkg/machine"
)

// historySchema is the version of the JSON that history prints.
const historySchema = 1

// History lists the runs on record, the newest first, a line for each. With the
// number of a run, it prints all that is on record about that run.
func History(m *machine.Machine, run int, asJSON bool) error {
	list := []*history.Record{}
	switch {
	case run != 0:
		r, err := history.Read(m.Tree, run)
		if errors.Is(err, fs.ErrNotExist) {
			return exit.Errorf(exit.Usage, "there is no record of run %d", run).WithHint("dkms history lists the runs")
		}
		if err != nil {
			return err
		}
		list = append(list, r)
	default:
		all, damaged, err := history.List(m.Tree)
		if err != nil {
			return err
		}
		for _, n := range damaged {
			m.Report.Warnf("the record of run %d is damaged", n)
		}
		list = append(list, all...)
	}
	switch {
	case asJSON:
		return m.Report.JSON(map[string]any{"schema": historySchema, "runs": list})
	case run != 0:
		m.Report.Result(strings.Join(recordLines(list[0]), "\n"))
	case len(list) == 0:
		m.Report.Result("no run is on record")
	default:
		printRuns(m, list)
	}
	return nil
}

// printRuns prints the table of the runs.
func printRuns(m *machine.Machine, list []*history.Record) {
	rows := make([][]string, len(list))
	var widths []int
	for i, r := range list {
		caller := r.Caller.String()
		if caller == "" {
			caller = "-"
		}
		rows[i] = []string{fmt.Sprint(r.Run), day(r.Began), r.Verb, caller, outcome(r)}
		for j, cell := range rows[i] {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], len(cell))
		}
	}
	for i, cells := range rows {
		line := strings.Repeat(" ", widths[0]-len(cells[0])) + cells[0]
		for j, cell := range cells[1:] {
			line += "  " + padded(cell, widths[j+1])
		}
		m.Report.Result(strings.TrimRight(line+"  "+brief(list[i]), " "))
	}
}

// outcome is the outcome of a run in a word or two.
func outcome(r *history.Record) string {
	switch {
	case r.Ended.IsZero():
		return "not ended"
	case r.UndoneBy != 0:
		return fmt.Sprintf("undone by %d", r.UndoneBy)
	}
	return string(r.Outcome)
}

// maxBrief is how many changes of a run its line names.
const maxBrief = 3

// brief says in a few words what a run has changed or, if it has changed no
// installed module, what else it has done. What the boot guard has done is always
// said.
func brief(r *history.Record) string {
	var list []string
	count := map[string]int{}
	note := func(text string) {
		if count[text]++; count[text] == 1 {
			list = append(list, text)
		}
	}
	for _, c := range r.Changes {
		note(c.Module + " " + change(c))
	}
	modules := len(list) > 0
	for _, s := range r.Steps {
		if !modules || s.Text != "" {
			text := s.Step + " " + s.Module + "/" + s.Version
			if s.Error != "" {
				text += " failed"
			}
			note(text)
		}
	}
	for i, text := range list {
		if n := count[text]; n > 1 {
			list[i] += fmt.Sprintf(" (%d kernels)", n)
		}
	}
	if more := len(list) - maxBrief; more > 0 {
		list = append(list[:maxBrief], fmt.Sprintf("%d more", more))
	}
	if len(list) == 0 {
		return r.Error
	}
	return strings.Join(list, ", ")
}

// change says how the version of a package has changed.
func change(c *history.Change) string {
	word := func(version string) string {
		if version == "" {
			return "none"
		}
		return version
	}
	if c.Before.Version == c.After.Version {
		return word(c.After.Version) + " again"
	}
	return word(c.Before.Version) + " -> " + word(c.After.Version)
}

// recordLines is all that is on record about a run.
func recordLines(r *history.Record) []string {
	list := []string{fmt.Sprintf("run %d: %s: %s", r.Run, r.Verb, outcome(r))}
	add := func(format string, args ...any) { list = append(list, "  "+fmt.Sprintf(format, args...)) }
	if caller := r.Caller.String(); caller != "" {
		add("called by: %s", caller)
	}
	if len(r.Arguments) > 0 {
		add("arguments: %s", strings.Join(r.Arguments, " "))
	}
	add("began: %s", day(r.Began))
	if !r.Ended.IsZero() {
		add("ended: %s", day(r.Ended))
	}
	if len(r.Undoes) > 0 {
		add("undoes: %s", strings.Trim(fmt.Sprint(r.Undoes), "[]"))
	}
	if r.Error != "" {
		add("error: %s", r.Error)
	}
	for _, s := range r.Steps {
		add("%s %s/%s%s%s", s.Step, s.Module, s.Version, after(" for ", s.Kernel), after(": failed: ", s.Error)+after(": ", s.Text))
	}
	for _, c := range r.Changes {
		add("%s, %s, %s: %s", c.Module, c.Kernel, c.Arch, change(c))
		for _, f := range c.Before.Files {
			add("  before: %s %s", f.SHA256, f.Path)
		}
		for _, f := range c.After.Files {
			add("  after:  %s %s", f.SHA256, f.Path)
		}
	}
	return list
}
