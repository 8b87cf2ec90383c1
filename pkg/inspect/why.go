package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Explanation says why a module version is installed for a kernel or not. The
// JSON names are an interface; see dkms-json(5).
type Explanation struct {
	ModuleVerdict
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// Status is the word of dkms status: added, built, installed or broken.
	Status string `json:"status"`
	// Excluded is the BUILD_EXCLUSIVE_* that excludes it, with its value.
	Excluded string `json:"excluded,omitempty"`
	// Configuration lists the files that were read: the package's dkms.conf and
	// the administrator's overrides.
	Configuration []string     `json:"configuration,omitempty"`
	Depends       []Dependency `json:"depends,omitempty"`
	// Built, Compiler and Signer describe the kept build.
	Built    time.Time `json:"built,omitzero"`
	Compiler string    `json:"compiler,omitempty"`
	Signer   string    `json:"signer,omitempty"`
	// Origin is where an imported build came from; Prebuilt is
	// prebuilt_source's answer where it had no usable build.
	Origin   *tree.Origin `json:"origin,omitempty"`
	Prebuilt *tree.Answer `json:"prebuilt,omitempty"`
	// Installed are the files in the kernel's directory.
	Installed []string      `json:"installed,omitempty"`
	Failure   *tree.Failure `json:"failure,omitempty"`
}

// Dependency is a module on which another module builds.
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

// Why explains the state of a module, for the named kernels or for every
// kernel.
func Why(ctx context.Context, m *machine.Machine, q Query) error {
	t, err := newTeller(m, q)
	if err != nil {
		return err
	}
	ids, err := t.named("why")
	if err != nil {
		return err
	}
	targets, err := t.concerned(ids)
	if err != nil {
		return err
	}
	var list []Explanation
	for _, k := range targets {
		list = append(list, t.explainer(ctx, k).explain(ctx, ids)...)
	}
	if q.JSON {
		return m.Report.JSON(map[string]any{"schema": whySchema, "modules": list})
	}
	for _, x := range list {
		m.Report.Result(strings.Join(x.lines(), "\n"))
	}
	return nil
}

// named returns the registered versions that the query selects.
func (t *teller) named(verb string) ([]tree.ID, error) {
	if t.Name == "" {
		return nil, exit.Errorf(exit.Usage, "%s needs a module", verb).WithHint("dkms %s MODULE[/VERSION]; dkms status lists what is registered", verb)
	}
	var ids []tree.ID
	for _, v := range t.facts.Registered() {
		if t.matches(v.ID) {
			ids = append(ids, v.ID)
		}
	}
	if len(ids) == 0 {
		return nil, t.NotRegistered(t.word())
	}
	return ids, nil
}

// concerned returns the kernels for a query about some versions: the named
// ones, or else those of the machine and those with a build of the versions.
func (t *teller) concerned(ids []tree.ID) ([]tree.Target, error) {
	targets, err := t.Targets(t.Choice, func() ([]string, error) {
		list, err := t.kernels()
		if err != nil || len(list) > 0 {
			return list, err
		}
		return t.Running()
	})
	if err != nil || len(t.Choice.Kernels) > 0 {
		return targets, err
	}
	for _, id := range ids {
		versions, err := t.Tree.Versions(id.Name)
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

// explainer holds the state of every package for one kernel.
type explainer struct {
	*teller
	target   tree.Target
	verdicts map[tree.ID]machine.Verdict
}

func (t *teller) explainer(ctx context.Context, k tree.Target) *explainer {
	w := &explainer{teller: t, target: k, verdicts: map[tree.ID]machine.Verdict{}}
	for _, v := range t.facts.Verdicts(ctx, k) {
		w.verdicts[v.ID] = v
		if v.Newer != nil {
			w.verdicts[v.Newer.ID] = *v.Newer
		}
	}
	return w
}

func (w *explainer) explain(ctx context.Context, ids []tree.ID) []Explanation {
	var list []Explanation
	for _, id := range ids {
		s := machine.Subject{ID: id, Target: w.target}
		x := Explanation{
			ModuleVerdict: w.moduleVerdict(ctx, w.verdict(id), w.target), Kernel: s.Kernel, Arch: s.Arch, Status: w.status(id),
			Failure: w.Tree.Failure(id, w.target), Prebuilt: w.Tree.Answer(id, w.target),
		}
		if made := w.facts.Module(s).Manifest; made != nil {
			x.Built, x.Compiler, x.Signer, x.Origin = made.Built, made.Compiler, made.Signer, made.Origin
			for _, f := range made.Installed {
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

// configuration adds the facts of the dkms.conf.
func (w *explainer) configuration(ctx context.Context, s machine.Subject, x *Explanation) {
	res := w.facts.Conf(ctx, s)
	if res.Err != nil {
		return // the verdict reports the error where it matters
	}
	x.Configuration = res.Conf.Files
	x.Excluded = w.Excluded(res.Conf, s.Target)
	for _, name := range res.Conf.BuildDepends {
		x.Depends = append(x.Depends, w.depend(ctx, name, []string{s.Name}))
	}
}

// verdict returns check's verdict on a version, if the version is the one that
// counts.
func (w *explainer) verdict(id tree.ID) machine.Verdict {
	if v, ok := w.verdicts[id]; ok {
		return v
	}
	v := machine.Verdict{ID: id, Health: machine.Health{State: machine.Unwanted}}
	if w.Tree.State(id) == tree.Broken {
		err := w.Broken(id)
		v.Health = machine.Health{State: machine.BrokenSource, Reason: err.Error(), Hint: exit.Hint(err)}
		return v
	}
	for other := range w.verdicts {
		if other.Name == id.Name && version.Compare(other.Version, id.Version) > 0 {
			v.Reason = fmt.Sprintf("%s is newer, and autoinstall takes the newest version", other)
		}
	}
	return v
}

func (w *explainer) status(id tree.ID) string {
	switch mod := w.facts.Module(machine.Subject{ID: id, Target: w.target}); {
	case mod.State == tree.Broken:
		return "broken"
	case mod.Active:
		return "installed"
	case mod.Built:
		return "built"
	}
	return "added"
}

// depend explains one name of BUILD_DEPENDS and, recursively, its own
// dependencies. above are the modules that led to this name; a name that is
// among them closes a cycle, so the recursion stops there.
func (w *explainer) depend(ctx context.Context, name string, above []string) Dependency {
	d := Dependency{Module: name, Status: "unregistered", Reason: "not registered with dkms"}
	for _, p := range w.facts.Packages() {
		id, ok := p.Newest()
		if !ok || !machine.Matches(name, id.Name) {
			continue
		}
		if v := w.Tree.Active(id.Name, w.target); v != "" && w.Tree.IsBuilt(tree.ID{Name: id.Name, Version: v}, w.target) {
			return Dependency{Module: id.Name, Version: v, Status: "installed"}
		}
		verdict := w.verdict(id)
		s := machine.Subject{ID: id, Target: w.target}
		d = Dependency{Module: id.Name, Version: id.Version, Status: w.status(id), Reason: string(verdict.State) + ": " + w.Brief(s, verdict.Reason)}
		if slices.Contains(above, id.Name) {
			d.Reason = "they build on each other in a circle"
			return d
		}
		if res := w.facts.Conf(ctx, s); res.Err == nil {
			for _, n := range res.Conf.BuildDepends {
				d.Depends = append(d.Depends, w.depend(ctx, n, append(slices.Clone(above), id.Name)))
			}
		}
	}
	return d
}

// lines returns x as lines for people.
func (x *Explanation) lines() []string {
	head := fmt.Sprintf("%s/%s, %s, %s: %s", x.Module, x.Version, x.Kernel, x.Arch, x.Status)
	if string(x.State) != x.Status {
		head += ": " + string(x.State)
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
	if x.Essential != "" {
		add("essential: %s", x.Essential)
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

// why returns the part of the reason that no other line contains.
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

// after returns text behind word, or "" where text is empty.
func after(word, text string) string {
	if text == "" {
		return ""
	}
	return word + text
}

func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
