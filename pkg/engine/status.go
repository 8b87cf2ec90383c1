package engine

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/install"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// status prints a line for each module version and build, in the original's
// format.
func (e *Engine) status(ctx context.Context, req *Request) error {
	all, err := e.tree.All()
	if err != nil {
		return err
	}
	filters := []tree.Target{{}}
	if len(req.Kernels)+len(req.Arches) > 0 {
		filters = e.filters(req)
	}
	var lines []*statusLine
	for _, f := range filters {
		for _, v := range all {
			if matches(req.Name, v.ID.Name) && matches(req.Version, v.ID.Version) {
				lines = append(lines, e.linesOf(v, f)...)
			}
		}
	}
	e.complete(ctx, lines)
	if req.JSON {
		return e.printJSON(lines)
	}
	for _, l := range lines {
		e.print(l)
	}
	e.warnOfIndexes(lines)
	return nil
}

// filters are the kernels and architectures that status is limited to; an
// empty part means any.
func (e *Engine) filters(req *Request) []tree.Target {
	var list []tree.Target
	for i := range max(len(req.Kernels), len(req.Arches)) {
		var t tree.Target
		if i < len(req.Kernels) {
			t.Kernel, t.Arch, _ = strings.Cut(req.Kernels[i], "/")
		}
		switch {
		case t.Arch != "":
		case len(req.Arches) == 1:
			t.Arch = req.Arches[0]
		case i < len(req.Arches):
			t.Arch = req.Arches[i]
		}
		list = append(list, t)
	}
	return list
}

// matches applies a shell pattern; an empty one fits everything.
func matches(pattern, s string) bool {
	if pattern == "" || pattern == s {
		return true
	}
	ok, err := filepath.Match(pattern, s)
	return err == nil && ok
}

// statusLine is a line of status under construction.
type statusLine struct {
	id    tree.ID
	state string
	build *tree.Build
	// manifest is what is known of the build; conf is read where there is
	// no manifest.
	manifest *tree.Manifest
	suffix   string
}

func (e *Engine) linesOf(v tree.Version, f tree.Target) []*statusLine {
	switch v.State {
	case tree.Broken:
		return []*statusLine{{id: v.ID, state: "broken"}}
	case tree.Absent:
		return nil
	}
	var lines []*statusLine
	for i, b := range v.Builds {
		if !matches(f.Kernel, b.Kernel) || !matches(f.Arch, b.Arch) {
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

// complete finds out what is to be said behind the state of builds. Builds of
// the original have no manifest; their dkms.conf is read, with one bash.
func (e *Engine) complete(ctx context.Context, lines []*statusLine) {
	var unknown []*statusLine
	for _, l := range lines {
		if l.build == nil {
			continue
		}
		if system.IsDir(e.tree.Originals(l.id.Name, l.build.Target)) {
			l.suffix = " (Original modules exist)"
		}
		if l.manifest, _ = e.tree.Manifest(l.id, l.build.Target); l.manifest == nil {
			if e.tree.IsBuilt(l.id, l.build.Target) { // and not removed while this was looking
				unknown = append(unknown, l)
			}
			continue
		}
		if l.manifest.Origin != nil {
			l.suffix += " (Imported)"
		}
		l.suffix += e.compareManifest(l)
	}
	subjects := make([]subject, len(unknown))
	for i, l := range unknown {
		subjects[i] = subject{l.id, l.build.Target}
	}
	for i, res := range e.confs(ctx, subjects, e.confFile) {
		unknown[i].suffix += e.compareConf(unknown[i], res)
	}
}

const (
	missingSuffix = " (Built modules are missing in the kernel modules folder)"
	differsSuffix = " (Differences between built and installed modules)"
)

func (e *Engine) compareManifest(l *statusLine) string {
	dir := e.tree.Modules(l.id, l.build.Target)
	installed := map[string]tree.Installed{}
	for _, f := range l.manifest.Installed {
		installed[filepath.Base(f.Path)] = f
	}
	for _, f := range l.manifest.Files {
		if !system.IsFile(filepath.Join(dir, f.Name)) {
			return missingSuffix
		}
		if i, ok := installed[f.Name]; l.build.Installed && (!ok || i.SHA256 != f.SHA256 || !install.Unchanged(i)) {
			if len(installed) > 0 || !e.installer.HasCopy(l.build.Kernel, filepath.Join(dir, f.Name)) {
				return differsSuffix
			}
		}
	}
	return ""
}

func (e *Engine) compareConf(l *statusLine, res conf.Result) string {
	if res.Err != nil {
		if e.tree.IsBuilt(l.id, l.build.Target) {
			e.report.Warnf("%s: %v", l.id, res.Err)
		}
		return ""
	}
	k := e.kernel(l.build.Target)
	for _, r := range res.Conf.Active(build.ConfTarget(k, false), configOf(k)) {
		file := install.FindModule(e.tree.Modules(l.id, l.build.Target), r.DestName)
		if file == "" {
			return missingSuffix
		}
		if l.build.Installed && !e.installer.HasCopy(l.build.Kernel, file) {
			return differsSuffix
		}
	}
	return ""
}

func (e *Engine) print(l *statusLine) {
	text := l.id.String()
	if l.build != nil {
		text += ", " + l.build.Kernel + ", " + l.build.Arch
	}
	e.report.Result(text + ": " + l.state + l.suffix)
	if l.state == "broken" {
		err := e.broken(l.id)
		e.report.Emit(report.Event{Kind: report.Failure, Module: l.id.String(), Text: err.Error(), Err: err})
	}
}

// statusSchema is the version of the JSON that status prints.
const statusSchema = 1

// printJSON prints one object; the names in it are an interface, see dkms(8).
func (e *Engine) printJSON(lines []*statusLine) error {
	type entry struct {
		Module  string `json:"module"`
		Version string `json:"version"`
		Kernel  string `json:"kernel,omitempty"`
		Arch    string `json:"arch,omitempty"`
		State   string `json:"state"`
		// Remarks are those behind the state of the plain line.
		Remarks string `json:"remarks,omitempty"`
		// Outdated says that the headers of the kernel changed since.
		Outdated bool          `json:"outdated,omitempty"`
		Signer   string        `json:"signer,omitempty"`
		Failure  *tree.Failure `json:"failure,omitempty"`
		// Origin is where an imported build came from, Prebuilt what
		// prebuilt_source said of one that was made here.
		Origin   *tree.Origin `json:"origin,omitempty"`
		Prebuilt *tree.Answer `json:"prebuilt,omitempty"`
	}
	entries := []entry{}
	for _, l := range lines {
		j := entry{Module: l.id.Name, Version: l.id.Version, State: l.state, Remarks: strings.TrimSpace(l.suffix)}
		if l.build != nil {
			j.Kernel, j.Arch = l.build.Kernel, l.build.Arch
			j.Failure = e.tree.Failure(l.id, l.build.Target)
			j.Prebuilt = e.tree.Answer(l.id, l.build.Target)
		}
		if l.manifest != nil {
			j.Signer, j.Origin = l.manifest.Signer, l.manifest.Origin
			j.Outdated = e.outOfDate(l.manifest, e.headersNow(l.build.Target))
		}
		entries = append(entries, j)
	}
	data, err := json.MarshalIndent(map[string]any{"schema": statusSchema, "modules": entries}, "", "  ")
	if err != nil {
		return err
	}
	e.report.Result(string(data))
	return nil
}
