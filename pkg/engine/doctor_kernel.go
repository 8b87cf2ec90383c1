package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/plan"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// programs looks for what no build can do without.
func (d *doctor) programs(context.Context) {
	if !d.registered() {
		return
	}
	if d.framework.PrebuiltSource != "" {
		d.prebuilts()
		return
	}
	for _, p := range missingPrograms(d.run.Has) {
		d.add("programs", installCommand(d.distribution, p.pkg), nil, "%s is not installed", p.program)
	}
}

// needed is a program and the package that commonly has it.
type needed struct{ program, pkg string }

func missingPrograms(has func(string) bool) (missing []needed) {
	for _, n := range []needed{{"make", "make"}, {"gcc", "gcc"}, {"patch", "patch"}, {"strip", "binutils"}, {"depmod", "kmod"}} {
		if !has(n.program) && !(n.program == "gcc" && (has("cc") || has("clang"))) {
			missing = append(missing, n)
		}
	}
	return missing
}

// headers looks for the headers of every kernel.
func (d *doctor) headers(context.Context) {
	if !d.registered() || d.framework.PrebuiltSource != "" {
		return
	}
	for _, t := range d.kernels {
		k := d.kernel(t)
		err := k.CheckHeaders(d.distribution)
		if err == nil {
			continue
		}
		cure := exit.Hint(err)
		if pkg := k.HeadersPackage(d.distribution); pkg != "" {
			cure = installCommand(d.distribution, pkg)
		}
		d.add("headers", cure, nil, "%v", err)
	}
}

// compilers compares the compiler that there is with the one that the kernel
// was built with.
func (d *doctor) compilers(ctx context.Context) {
	if !d.registered() {
		return
	}
	releases := map[string]int{}
	for _, k := range d.withHeaders() {
		tools := k.Toolchain(d.run)
		if missing := tools.Missing(); missing != "" {
			d.add("compiler", installCommand(d.distribution, compilerPackage(missing)), nil,
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
			d.add("compiler", installCommand(d.distribution, fmt.Sprintf("%s-%d", name, want)), nil,
				"kernel %s was built with %s %d, and %s here is %d", k.Release, name, want, cc, have)
		}
	}
}

// compilerPackage drops the machine from x86_64-linux-gnu-gcc-12.
func compilerPackage(cc string) string {
	for _, name := range []string{"gcc", "clang"} {
		if i := strings.LastIndex(cc, name); i > 0 && cc[i-1] == '-' {
			return cc[i:]
		}
	}
	return cc
}

// builtWith is the major release of the kernel's compiler, 0 if not known.
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
	out, err := d.run.Output(ctx, system.Cmd{Argv: append(strings.Fields(cc), "-dumpversion")})
	if err != nil {
		return 0
	}
	major, _, _ := strings.Cut(strings.TrimSpace(string(out)), ".")
	n, _ := strconv.Atoi(major)
	return n
}

// modules looks at every installed module: is it whole and, where the machine
// insists on signatures, would it be loaded.
func (d *doctor) modules(context.Context) {
	keys, machines := perTarget(d.usedKey), perTarget(func(t tree.Target) (*sign.Trust, error) {
		return sign.Inspect(d.host.Root, nil, d.kernel(t).Config().Get)
	})
	for _, v := range d.versions {
		for _, b := range v.Builds {
			if !b.Installed || !d.hasKernel(b.Kernel) {
				continue
			}
			m, err := d.tree.Manifest(v.ID, b.Target)
			known := err == nil && m != nil
			if known {
				if file, why := d.installer.Damage(m); file != "" {
					d.add("modules", "dkms install --force "+v.ID.String()+" -k "+kernelArg(d.host, b.Target), d.reinstall(b.Target), "%s: %s %s", v.ID, file, why)
					continue
				}
			}
			if known && d.outOfDate(m, d.headersNow(b.Target)) {
				d.add("modules", "dkms autoinstall -k "+kernelArg(d.host, b.Target), d.reinstall(b.Target), "%s: the headers of kernel %s have changed since it was built", v.ID, b.Kernel)
			}
			if machine, _ := machines(b.Target); !machine.Enforced() {
				continue
			}
			verdict := ModuleVerdict{State: "ready"}
			d.checkSignature(plan.Note{ID: v.ID, Target: b.Target}, keys, &verdict)
			if verdict.bad() {
				d.add("signatures", verdict.Hint, nil, "%s: kernel %s: %s", v.ID, b.Kernel, verdict.Reason)
			}
		}
	}
}

// reinstall has autoinstall heal a kernel, where --force asks for that: it may
// compile and run scripts of packages.
func (d *doctor) reinstall(t tree.Target) func(context.Context) error {
	if !d.req.Force {
		return nil
	}
	return func(ctx context.Context) error {
		_, err := d.autoinstall(ctx, &Request{Verb: Autoinstall, Kernels: []string{t.Kernel}, Arches: []string{t.Arch}})
		return err
	}
}

// kernelArg is what -k wants to hear of a target.
func kernelArg(h system.Host, t tree.Target) string {
	if t.Arch == h.Machine {
		return t.Kernel
	}
	return t.Kernel + "/" + t.Arch
}

// indexes looks for modules that modprobe will not find.
func (d *doctor) indexes(context.Context) {
	for _, t := range d.kernels {
		if why := d.staleIndex(t); why != "" {
			d.add("index", "depmod -a "+t.Kernel, func(context.Context) error { d.stale(t); return nil }, "%s", why)
		}
	}
}
