package inspect

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/machine"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// programs looks for missing programs that every build needs.
func (d *doctor) programs(context.Context) {
	if !d.registered() {
		return
	}
	if d.Framework.PrebuiltSource != "" {
		d.prebuilts()
		return
	}
	for _, p := range missingPrograms(d.Run.Has) {
		d.add("programs", machine.InstallCommand(d.Distribution, p.pkg), nil, "%s is not installed", p.program)
	}
}

// needed is a program and the usual name of the package that contains it.
type needed struct{ program, pkg string }

func missingPrograms(has func(string) bool) (missing []needed) {
	for _, n := range []needed{{"bash", "bash"}, {"make", "make"}, {"gcc", "gcc"}, {"patch", "patch"}, {"strip", "binutils"}, {"depmod", "kmod"}} {
		if !has(n.program) && !(n.program == "gcc" && (has("cc") || has("clang"))) {
			missing = append(missing, n)
		}
	}
	return missing
}

// headers looks for missing headers, for every kernel.
func (d *doctor) headers(context.Context) {
	if !d.registered() || d.Framework.PrebuiltSource != "" {
		return
	}
	for _, t := range d.targets {
		if err := d.CheckHeaders(t); err != nil {
			d.add("headers", d.HeadersCure(t, err), nil, "%v", err)
		}
	}
}

// compilers compares the installed compiler with the compiler that built the
// kernel.
func (d *doctor) compilers(ctx context.Context) {
	if !d.registered() {
		return
	}
	releases := map[string]int{}
	for _, k := range d.withHeaders() {
		tools := k.Toolchain(d.Run)
		if missing := tools.Missing(); missing != "" {
			d.add("compiler", machine.InstallCommand(d.Distribution, compilerPackage(missing)), nil,
				"kernel %s was built with %s, which is not installed", k.Release, missing)
			continue
		}
		cc, want := tools.CC, builtWith(k)
		if cc == "" {
			cc = "gcc"
		}
		if _, asked := releases[cc]; !asked {
			releases[cc] = d.compilerRelease(ctx, cc)
		}
		if have := releases[cc]; want != 0 && have != 0 && have != want {
			name, _, _ := strings.Cut(filepath.Base(cc), "-")
			d.add("compiler", machine.InstallCommand(d.Distribution, fmt.Sprintf("%s-%d", name, want)), nil,
				"kernel %s was built with %s %d, and %s here is %d", k.Release, name, want, cc, have)
		}
	}
}

// compilerPackage removes the machine prefix, as from x86_64-linux-gnu-gcc-12.
func compilerPackage(cc string) string {
	for _, name := range []string{"gcc", "clang"} {
		if i := strings.LastIndex(cc, name); i > 0 && cc[i-1] == '-' {
			return cc[i:]
		}
	}
	return cc
}

// builtWith returns the major version of the kernel's compiler, or 0 if it is
// not known.
func builtWith(k *kernel.Kernel) int {
	symbol := "CONFIG_GCC_VERSION"
	if k.Config().Is("CONFIG_CC_IS_CLANG") {
		symbol = "CONFIG_CLANG_VERSION"
	}
	n, err := strconv.Atoi(k.Config().Get(symbol))
	if err != nil {
		return 0
	}
	return n / 10000
}

func (d *doctor) compilerRelease(ctx context.Context, cc string) int {
	out, err := d.Run.Output(ctx, system.Cmd{Argv: append(strings.Fields(cc), "-dumpversion")})
	if err != nil {
		return 0
	}
	major, _, _ := strings.Cut(strings.TrimSpace(string(out)), ".")
	n, _ := strconv.Atoi(major)
	return n
}

// modules checks the installed modules. Reinstalling may build, so --fix does
// it only with --force.
func (d *doctor) modules(ctx context.Context) {
	required := map[tree.Target]bool{}
	for _, k := range d.targets {
		required[k] = d.facts.SignaturesRequired(k)
	}
	for _, v := range d.versions {
		for _, b := range v.Builds {
			if !b.Installed || !d.lookedAt(b.Kernel) {
				continue
			}
			mod := d.facts.Module(machine.Subject{ID: v.ID, Target: b.Target})
			h := mod.Installed()
			must, known := required[b.Target]
			if h.OK() && (must || !known && d.facts.SignaturesRequired(b.Target)) {
				h = d.facts.Signature(ctx, mod)
			}
			d.addModule(mod, h)
		}
	}
	d.signatures()
}

// lookedAt reports whether a kernel is among those to examine.
func (d *doctor) lookedAt(release string) bool {
	return slices.ContainsFunc(d.targets, func(t tree.Target) bool { return t.Kernel == release })
}

// missing adds the modules that check calls not ready, and the newest versions
// that are not, although older ones serve. It skips what other checks
// report: installed modules, unless a new build of them has failed; modules
// without sources; kernels without headers.
func (d *doctor) missing(ctx context.Context) {
	reinstall := func(t tree.Target) *machine.Cure {
		if d.force {
			return &machine.Cure{Kind: machine.Reinstall, Target: t}
		}
		return nil
	}
	for _, k := range d.targets {
		headers := d.CheckHeaders(k)
		for _, v := range d.facts.Verdicts(ctx, k) {
			serves := ""
			if v.Newer != nil {
				serves, v = v.Version, *v.Newer
			}
			told := v.State == machine.BrokenSource || headers != nil && v.Reason == headers.Error() ||
				d.facts.Module(machine.Subject{ID: v.ID, Target: k}).Active && d.Tree.Failure(v.ID, k) == nil
			if v.Bad() && !told {
				s := machine.Subject{ID: v.ID, Target: k}
				d.add("modules", v.Hint, reinstall(k), "%s: kernel %s: %s: %s%s%s", v.ID, k.Kernel, v.State, d.Brief(s, v.Why()),
					after("; ready in its place: ", serves), after("; essential: ", machine.Essential(ctx, d.facts, s)))
			}
		}
	}
}

// configurations reads every dkms.conf for the newest kernel, because that is
// the next kernel for which modules will be built. Installed modules do not
// need their dkms.conf before that.
func (d *doctor) configurations(ctx context.Context) {
	if len(d.targets) == 0 {
		return
	}
	newest := d.targets[len(d.targets)-1]
	var subjects []machine.Subject
	for _, v := range d.versions {
		if v.State == tree.Added {
			subjects = append(subjects, machine.Subject{ID: v.ID, Target: newest})
		}
	}
	confs := d.facts.Confs(ctx, subjects)
	for _, s := range subjects {
		err := confs[s].Err
		if err != nil && !d.told(err) {
			d.add("configuration", exit.Hint(err), nil, "%s: %v", s.ID, err)
		}
	}
}

// told reports whether a finding already contains an error.
func (d *doctor) told(err error) bool {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return slices.ContainsFunc(d.found, func(f Finding) bool { return strings.Contains(f.Text, first) })
}

// addModule adds a finding for an installed module that is not in order.
func (d *doctor) addModule(mod *machine.Module, h machine.Health) {
	id, arg := mod.ID, d.KernelArg(mod.Target)
	var reinstall *machine.Cure
	if d.force {
		reinstall = &machine.Cure{Kind: machine.Reinstall, Target: mod.Target}
	}
	switch h.State {
	case machine.Ready:
		if h.Reason != "" && d.facts.Held(mod.Subject) == nil {
			d.add("modules", "", nil, "%s: kernel %s: %s", id, mod.Kernel, h.Reason)
		}
	case machine.Unsigned, machine.Untrusted:
		d.distrusted = append(d.distrusted, distrusted{mod, h})
	case machine.Outdated:
		if d.Tree.Failure(id, mod.Target) != nil { // missing says why it is not built again
			return
		}
		d.add("modules", "dkms autoinstall -k "+arg, reinstall, "%s: kernel %s: %s", id, mod.Kernel, h.Why())
	default:
		if mod.State == tree.Restored {
			d.add("modules", d.facts.WithoutSources(mod.Subject), nil, "%s: %s", id, h.Why())
			return
		}
		d.add("modules", "dkms install --force "+id.String()+" -k "+arg, reinstall, "%s: %s", id, h.Why())
	}
}

// distrusted is an installed module whose signature does not count.
type distrusted struct {
	mod *machine.Module
	h   machine.Health
}

// signatures adds a finding for all modules of a kernel whose signatures do not
// count for the same reason.
func (d *doctor) signatures() {
	for len(d.distrusted) > 0 {
		first := d.distrusted[0]
		g := group{ids: []string{first.mod.ID.String()}}
		d.distrusted = slices.DeleteFunc(d.distrusted[1:], func(o distrusted) bool {
			same := o.mod.Target == first.mod.Target && o.h.State == first.h.State && o.h.Reason == first.h.Reason
			if same {
				g.ids = append(g.ids, o.mod.ID.String())
			}
			return same
		})
		why, hint := first.h.Why(), first.h.Hint
		if len(g.ids) > 1 {
			why = strings.TrimPrefix(first.h.Reason, "is ")
			if first.h.State == machine.Unsigned {
				hint = "dkms sign"
			}
		}
		d.add("signatures", hint, nil, "%s: kernel %s: %s", g.names(), first.mod.Kernel, why)
	}
}

// indexes looks for modules that modprobe cannot find.
func (d *doctor) indexes(context.Context) {
	for _, t := range d.targets {
		if why := d.facts.Index(t); why != "" {
			d.add("index", "depmod -a "+t.Kernel, &machine.Cure{Kind: machine.Reindex, Target: t}, "%s", why)
		}
	}
}

// prebuilts looks for missing requirements of builds from other machines. A
// machine that uses such builds need not be able to build anything itself.
func (d *doctor) prebuilts() {
	const registry = "docker://"
	source := d.Framework.PrebuiltSource
	switch {
	case strings.HasPrefix(source, registry) && !d.Run.Has("skopeo"):
		d.add("programs", machine.InstallCommand(d.Distribution, "skopeo"), nil, "skopeo is not installed, and prebuilt_source is %s", source)
	case !strings.HasPrefix(source, registry) && !system.IsDir(d.Host.Root.Path(source)):
		d.add("prebuilt", "mkdir "+source+", or mount it", nil, "prebuilt_source %s is not there", source)
	}
	if d.Framework.PrebuiltCertificate == "" {
		d.add("prebuilt", "set prebuilt_certificate in framework.conf", nil, "prebuilt_source is set, but no certificate that builds may be signed with: none is taken")
		return
	}
	if _, err := sign.Certificates(d.Host.Root.Path(d.Framework.PrebuiltCertificate)); err != nil {
		d.add("prebuilt", "", nil, "the certificates that builds of other machines may be signed with: %v", err)
	}
}
