package inspect

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/install"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Query selects versions, by shell patterns, and kernels. An empty field
// selects all.
type Query struct {
	Name, Version string
	Choice        machine.Choice
	// JSON prints the answer as JSON.
	JSON bool
	// Quiet makes check answer with its status only.
	Quiet bool
}

// word returns the selected versions as text for messages.
func (q Query) word() string { return strings.TrimSuffix(q.Name+"/"+q.Version, "/") }

// matches reports whether a query selects a version.
func (q Query) matches(id tree.ID) bool {
	return machine.Matches(q.Name, id.Name) && machine.Matches(q.Version, id.Version)
}

// teller answers one query about a machine.
type teller struct {
	*machine.Machine
	facts *machine.Facts
	Query
}

func newTeller(m *machine.Machine, q Query) (*teller, error) {
	facts, err := m.Facts()
	if err == nil {
		err = facts.Readable()
	}
	return &teller{m, facts, q}, err
}

// Status prints a line for each module version and build, in the original's
// format.
func Status(ctx context.Context, m *machine.Machine, q Query) error {
	t, err := newTeller(m, q)
	if err != nil {
		return err
	}
	all, err := m.Tree.WithBuilds(t.facts.Registered())
	if err != nil {
		return err
	}
	filters := []tree.Target{{}}
	if !q.Choice.Any() {
		filters = q.Choice.Filters()
	}
	var lines []*statusLine
	for _, f := range filters {
		for _, v := range all {
			if q.matches(v.ID) {
				lines = append(lines, linesOf(v, f)...)
			}
		}
	}
	t.complete(ctx, lines)
	if q.JSON {
		return t.printJSON(lines)
	}
	for _, l := range lines {
		t.print(l)
	}
	t.warnOfIndexes(lines)
	return nil
}

// statusLine is one line of status.
type statusLine struct {
	id    tree.ID
	state string
	build *tree.Build
	// module holds the facts about the build. Without a manifest they come from
	// its dkms.conf.
	module *machine.Module
	suffix string
}

func linesOf(v tree.Version, f tree.Target) []*statusLine {
	switch v.State {
	case tree.Broken:
		return []*statusLine{{id: v.ID, state: "broken"}}
	case tree.Absent:
		return nil
	}
	var lines []*statusLine
	for i, b := range v.Builds {
		if !machine.MatchesTarget(f, b.Target) {
			continue
		}
		state := "built"
		if b.Installed {
			state = "installed"
		}
		lines = append(lines, &statusLine{id: v.ID, state: state, build: &v.Builds[i]})
	}
	if len(lines) == 0 {
		return []*statusLine{{id: v.ID, state: "added"}}
	}
	return lines
}

// complete collects the remarks behind the state of builds. The original's
// builds have no manifest, so one bash evaluates the dkms.conf of each of them.
func (t *teller) complete(ctx context.Context, lines []*statusLine) {
	var unknown []*statusLine
	var subjects []machine.Subject
	for _, l := range lines {
		if l.build == nil {
			continue
		}
		if system.IsDir(t.Tree.Originals(l.id.Name, l.build.Target)) {
			l.suffix = " (Original modules exist)"
		}
		s := machine.Subject{ID: l.id, Target: l.build.Target}
		switch l.module = t.facts.Module(s); {
		case l.module.ManifestErr != nil:
			t.Report.Warnf("%s: %v", l.id, l.module.ManifestErr)
			fallthrough
		case l.module.Manifest == nil:
			if l.module.Built { // another run may have removed the build meanwhile
				unknown, subjects = append(unknown, l), append(subjects, s)
			}
			continue
		case l.module.Manifest.Origin != nil:
			l.suffix += " (Imported)"
		}
		l.suffix += t.compareManifest(l)
	}
	confs := t.facts.Confs(ctx, subjects)
	for i, l := range unknown {
		l.suffix += t.compareConf(l, confs[subjects[i]])
	}
}

const (
	missingSuffix = " (Built modules are missing in the kernel modules folder)"
	differsSuffix = " (Differences between built and installed modules)"
)

func (t *teller) compareManifest(l *statusLine) string {
	dir := t.Tree.Modules(l.id, l.build.Target)
	installed := map[string]tree.Installed{}
	for _, f := range l.module.Manifest.Installed {
		installed[filepath.Base(f.Path)] = f
	}
	for _, f := range l.module.Manifest.Files {
		if !system.IsFile(filepath.Join(dir, f.Name)) {
			return missingSuffix
		}
		if i, ok := installed[f.Name]; l.build.Installed && (!ok || i.SHA256 != f.SHA256 || !install.Unchanged(i)) {
			if len(installed) > 0 || !l.module.HasSame(filepath.Join(dir, f.Name)) {
				return differsSuffix
			}
		}
	}
	return ""
}

func (t *teller) compareConf(l *statusLine, res conf.Result) string {
	if res.Err != nil {
		if t.Tree.IsBuilt(l.id, l.build.Target) {
			t.Report.Warnf("%s: %v", l.id, res.Err)
		}
		return ""
	}
	for _, r := range t.Records(res.Conf, l.build.Target) {
		file := install.FindModule(t.Tree.Modules(l.id, l.build.Target), r.DestName)
		if file == "" && r.Optional {
			continue
		}
		if file == "" {
			return missingSuffix
		}
		if l.build.Installed && !l.module.HasSame(file) {
			return differsSuffix
		}
	}
	return ""
}

func (t *teller) print(l *statusLine) {
	text := l.id.String()
	if l.build != nil {
		text += ", " + l.build.Kernel + ", " + l.build.Arch
	}
	t.Report.Result(text + ": " + l.state + l.suffix)
	if l.state == "broken" {
		err := t.Broken(l.id)
		t.Report.Emit(report.Event{Kind: report.Failure, Module: l.id.String(), Text: err.Error(), Err: err})
	}
}

// statusSchema is the version of the JSON that status prints.
const statusSchema = 1

// printJSON prints one object; the names in it are an interface, see dkms-json(5).
func (t *teller) printJSON(lines []*statusLine) error {
	type entry struct {
		Module  string `json:"module"`
		Version string `json:"version"`
		Kernel  string `json:"kernel,omitempty"`
		Arch    string `json:"arch,omitempty"`
		State   string `json:"state"`
		// Remarks are the remarks behind the state in the plain line.
		Remarks string `json:"remarks,omitempty"`
		// Outdated says that the headers of the kernel have changed since.
		Outdated bool          `json:"outdated,omitempty"`
		Signer   string        `json:"signer,omitempty"`
		Failure  *tree.Failure `json:"failure,omitempty"`
		// Origin is where an imported build came from; Prebuilt is
		// prebuilt_source's answer for a build that was made here.
		Origin   *tree.Origin `json:"origin,omitempty"`
		Prebuilt *tree.Answer `json:"prebuilt,omitempty"`
	}
	entries := []entry{}
	for _, l := range lines {
		j := entry{Module: l.id.Name, Version: l.id.Version, State: l.state, Remarks: strings.TrimSpace(l.suffix)}
		if l.build != nil {
			j.Kernel, j.Arch = l.build.Kernel, l.build.Arch
			j.Failure = t.Tree.Failure(l.id, l.build.Target)
			j.Prebuilt = t.Tree.Answer(l.id, l.build.Target)
		}
		if l.module != nil && l.module.Manifest != nil {
			j.Signer, j.Origin = l.module.Manifest.Signer, l.module.Manifest.Origin
			j.Outdated = l.module.Outdated() != ""
		}
		entries = append(entries, j)
	}
	return t.Report.JSON(map[string]any{"schema": statusSchema, "modules": entries})
}

// warnOfIndexes warns about indexes that lack the installed files. It does not
// warn while a run is changing modules, because that run updates the indexes at
// its end.
func (t *teller) warnOfIndexes(lines []*statusLine) {
	var kernels []tree.Target
	for _, l := range lines {
		if l.build != nil && l.build.Installed && !slices.Contains(kernels, l.build.Target) {
			kernels = append(kernels, l.build.Target)
		}
	}
	for _, k := range kernels {
		if t.facts.Index(k) == "" || t.Tree.Busy() {
			continue
		}
		now, err := t.Machine.Facts()
		if err != nil {
			continue
		}
		if why := now.Index(k); why != "" { // another run may have updated it meanwhile
			t.Report.Warnf("%s: modprobe does not find every module; dkms autoinstall -k %s mends that", why, k.Kernel)
		}
	}
}
