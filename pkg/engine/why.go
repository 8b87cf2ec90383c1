package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/tree"
)

// Explanation says why a module version is, or is not, installed for a kernel.
// The JSON names are an interface; see dkms(8).
type Explanation struct {
	ModuleVerdict
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// Status is what dkms status calls it: added, built, installed or broken.
	Status string `json:"status"`
	// Excluded is the BUILD_EXCLUSIVE_* that leaves it out, with its value.
	Excluded string `json:"excluded,omitempty"`
	// Configuration are the files that took part: the package's dkms.conf and
	// the administrator's overrides.
	Configuration []string     `json:"configuration,omitempty"`
	Depends       []Dependency `json:"depends,omitempty"`
	// Built, Compiler and Signer are those of the build that is kept.
	Built    time.Time `json:"built,omitzero"`
	Compiler string    `json:"compiler,omitempty"`
	Signer   string    `json:"signer,omitempty"`
	// Origin is where the build came from, if it was not made here; Prebuilt
	// is what prebuilt_source said when it was asked for one, and was of no
	// use.
	Origin   *tree.Origin `json:"origin,omitempty"`
	Prebuilt *tree.Answer `json:"prebuilt,omitempty"`
	// Installed are the files in the kernel's directory.
	Installed []string      `json:"installed,omitempty"`
	Failure   *tree.Failure `json:"failure,omitempty"`
}

// Dependency is a module that another builds on.
type Dependency struct {
	Module  string `json:"module"`
	Version string `json:"version,omitempty"`
	// Status is installed, built, added, broken or unregistered.
	Status string `json:"status"`
	// Reason is why it is not installed.
	Reason  string       `json:"reason,omitempty"`
	Depends []Dependency `json:"depends,omitempty"`
}

// whySchema is the version of the JSON that why prints.
const whySchema = 1

// why explains, for every kernel or the named ones, how a module stands.
func (e *Engine) why(ctx context.Context, req *Request) error {
	ids, err := e.named(req)
	if err != nil {
		return err
	}
	targets, err := e.concerned(req, ids)
	if err != nil {
		return err
	}
	var list []Explanation
	for _, t := range targets {
		w, err := e.explainer(ctx, t)
		if err != nil {
			return err
		}
		list = append(list, w.explain(ctx, ids)...)
	}
	if req.JSON {
		return e.resultJSON(map[string]any{"schema": whySchema, "modules": list})
	}
	for _, x := range list {
		e.report.Result(strings.Join(x.lines(), "\n"))
	}
	return nil
}

// named are the registered versions that a request names, by shell patterns.
func (e *Engine) named(req *Request) ([]tree.ID, error) {
	if req.Name == "" {
		return nil, exit.Errorf(exit.Usage, "%s needs a module", req.Verb).WithHint("dkms %s MODULE[/VERSION]; dkms status lists what is registered", req.Verb)
	}
	all, err := e.tree.All()
	if err != nil {
		return nil, err
	}
	var ids []tree.ID
	for _, v := range all {
		if v.State != tree.Absent && matches(req.Name, v.ID.Name) && matches(req.Version, v.ID.Version) {
			ids = append(ids, v.ID)
		}
	}
	if len(ids) == 0 {
		return nil, exit.Errorf(exit.NotAdded, "%s is not registered with dkms", strings.TrimSuffix(req.Name+"/"+req.Version, "/")).
			WithHint("dkms status lists what is")
	}
	return ids, nil
}

// concerned are the kernels that a question about some versions is about: the
// named ones, or those with headers and those that there is a build for.
func (e *Engine) concerned(req *Request, ids []tree.ID) ([]tree.Target, error) {
	targets, err := e.targets(req, func() ([]string, error) {
		list := kernel.Installed(e.host.Root)
		if len(list) == 0 {
			return e.running()
		}
		return list, nil
	})
	if err != nil || len(req.Kernels) > 0 {
		return targets, err
	}
	for _, id := range ids {
		versions, err := e.tree.Versions(id.Name)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			for _, b := range v.Builds {
				if v.ID == id && !slices.Contains(targets, b.Target) {
					targets = append(targets, b.Target)
				}
			}
		}
	}
	return targets, nil
}

// explainer knows what autoinstall makes of every module of one kernel.
type explainer struct {
	*Engine
	target   tree.Target
	confs    map[subject]conf.Result
	newest   []tree.ID
	verdicts map[tree.ID]ModuleVerdict
}

func (e *Engine) explainer(ctx context.Context, t tree.Target) (*explainer, error) {
	newest, _, err := e.newest()
	if err != nil {
		return nil, err
	}
	p, confs, _, err := e.planAutoinstall(ctx, []tree.Target{t}, false)
	if err != nil {
		return nil, err
	}
	w := &explainer{Engine: e, target: t, confs: confs, newest: newest, verdicts: map[tree.ID]ModuleVerdict{}}
	for _, m := range e.verdictFrom(t, p, nil).Modules {
		w.verdicts[tree.ID{Name: m.Module, Version: m.Version}] = m
	}
	return w, nil
}

func (w *explainer) explain(ctx context.Context, ids []tree.ID) []Explanation {
	var list []Explanation
	for _, id := range ids {
		s := subject{id, w.target}
		x := Explanation{ModuleVerdict: w.verdict(id), Kernel: s.Kernel, Arch: s.Arch, Status: w.status(id), Failure: w.tree.Failure(id, w.target), Prebuilt: w.tree.Answer(id, w.target)}
		if m, err := w.tree.Manifest(id, w.target); err == nil && m != nil {
			x.Built, x.Compiler, x.Signer, x.Origin = m.Built, m.Compiler, m.Signer, m.Origin
			for _, f := range m.Installed {
				x.Installed = append(x.Installed, f.Path)
			}
		}
		if x.Status != "broken" {
			w.configuration(ctx, s, &x)
		}
		list = append(list, x)
	}
	return list
}

// configuration adds what the dkms.conf says.
func (w *explainer) configuration(ctx context.Context, s subject, x *Explanation) {
	res, ok := w.confs[s]
	if !ok {
		res = w.Engine.confs(ctx, []subject{s}, w.confFile)[0]
	}
	if res.Err != nil {
		return // the verdict has it, where it matters
	}
	k := w.kernel(s.Target)
	x.Configuration = res.Conf.Files
	_, x.Excluded = res.Conf.Excluded(build.ConfTarget(k, false), configOf(k))
	for _, name := range res.Conf.BuildDepends {
		x.Depends = append(x.Depends, w.depend(name, []string{s.Name}))
	}
}

// verdict is what check says of a version, if it is the one that counts.
func (w *explainer) verdict(id tree.ID) ModuleVerdict {
	if m, ok := w.verdicts[id]; ok {
		return m
	}
	m := ModuleVerdict{Module: id.Name, Version: id.Version, State: "unwanted"}
	if w.tree.State(id) == tree.Broken {
		err := w.broken(id)
		m.State, m.Reason, m.Hint = "broken", err.Error(), exit.Hint(err)
		return m
	}
	for _, n := range w.newest {
		if n.Name == id.Name {
			m.Reason = fmt.Sprintf("%s is newer, and autoinstall takes the newest version", n)
		}
	}
	return m
}

func (w *explainer) status(id tree.ID) string {
	switch {
	case w.tree.State(id) == tree.Broken:
		return "broken"
	case w.tree.IsInstalled(id, w.target):
		return "installed"
	case w.tree.IsBuilt(id, w.target):
		return "built"
	}
	return "added"
}

// depend explains one name of BUILD_DEPENDS and what that builds on in turn.
// above are the modules that led here: a circle ends where it began.
func (w *explainer) depend(name string, above []string) Dependency {
	d := Dependency{Module: name, Status: "unregistered", Reason: "not registered with dkms"}
	for _, id := range w.newest {
		if !matches(name, id.Name) {
			continue
		}
		if v := w.tree.Active(id.Name, w.target); v != "" && w.tree.IsBuilt(tree.ID{Name: id.Name, Version: v}, w.target) {
			return Dependency{Module: id.Name, Version: v, Status: "installed"}
		}
		verdict := w.verdict(id)
		d = Dependency{Module: id.Name, Version: id.Version, Status: w.status(id), Reason: verdict.State + ": " + w.brief(verdict, w.target.Kernel)}
		if slices.Contains(above, id.Name) {
			d.Reason = "they build on each other in a circle"
			return d
		}
		if res, ok := w.confs[subject{id, w.target}]; ok && res.Err == nil {
			for _, n := range res.Conf.BuildDepends {
				d.Depends = append(d.Depends, w.depend(n, append(slices.Clone(above), id.Name)))
			}
		}
	}
	return d
}

// lines is x for people.
func (x *Explanation) lines() []string {
	head := fmt.Sprintf("%s/%s, %s, %s: %s", x.Module, x.Version, x.Kernel, x.Arch, x.Status)
	if x.State != x.Status {
		head += ": " + x.State
	}
	list := []string{head}
	add := func(format string, args ...any) {
		text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n    ")
		list = append(list, "  "+text)
	}
	if why := x.why(); why != "" {
		add("why: %s", why)
	}
	if x.Excluded != "" {
		add("excluded: %s", x.Excluded)
	}
	list = append(list, dependLines(x.Depends, "  ")...)
	if f := x.Failure; f != nil {
		add("failed: %s, status %d: %s", day(f.Time), f.Code, f.Message)
	}
	if a := x.Prebuilt; a != nil {
		add("prebuilt: %s, %s: %s%s", day(a.Time), a.From, a.Word, after(": ", a.Reason))
	}
	switch {
	case x.Origin != nil:
		add("imported: %s from %s (%s)%s", day(x.Origin.Time), x.Origin.From, x.Origin.Digest, after(", built by ", x.Compiler))
	case !x.Built.IsZero():
		add("built: %s%s", day(x.Built), after(" by ", x.Compiler))
	}
	if x.Signer != "" {
		add("signed by: %s", x.Signer)
	}
	for _, f := range x.Installed {
		add("installed: %s", f)
	}
	for _, f := range x.Configuration {
		add("configuration: %s", f)
	}
	if x.Hint != "" {
		add("next: %s", x.Hint)
	}
	return list
}

// why is the reason as far as it is not said elsewhere.
func (x *Explanation) why() string {
	why := x.Reason
	if x.Failure != nil {
		why = strings.TrimPrefix(why, x.Failure.Message)
	}
	if why == x.Excluded {
		return ""
	}
	return strings.TrimSpace(why)
}

func dependLines(depends []Dependency, indent string) []string {
	var list []string
	for _, d := range depends {
		line := indent + "needs: " + d.Module + after("/", d.Version) + ": " + d.Status
		if d.Reason != "" && d.Status != "unregistered" {
			line += ": " + d.Reason
		}
		list = append(append(list, line), dependLines(d.Depends, indent+"  ")...)
	}
	return list
}

// after is text behind a word, or nothing where there is no text.
func after(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
