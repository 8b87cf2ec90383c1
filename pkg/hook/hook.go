// Package hook is the program that package managers and kernel installers call
// when a kernel is installed or removed.
//
// It guarantees that it recognises its caller from its own path and arguments,
// and that it never blocks that caller: a failed build is reported loudly and
// recorded, and the exit status is 0 unless the administrator has chosen
// otherwise. The status is never 77, which kernel-install and installkernel
// take as an order to stop.
package hook

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/run"
	"dkms/pkg/system"
)

// Verb is what a hook does; empty means nothing.
type Verb string

// The verbs, by their names on the command line.
const (
	KernelPostinst Verb = "kernel_postinst"
	KernelPreinst  Verb = "kernel_preinst"
	KernelPrerm    Verb = "kernel_prerm"
	UpgradeGuard   Verb = "upgrade_guard"
	BootGuard      Verb = "boot_guard"
	Settle         Verb = "settle"
)

// Call is what a hook was called for.
type Call struct {
	// Verb is what to do; empty means nothing.
	Verb Verb
	// Kernel is the release that is installed or removed.
	Kernel string
	// Transaction is what is about to be done, for [UpgradeGuard].
	Transaction run.Transaction
	// Debconf says that standard output belongs to debconf.
	Debconf bool
	// Verbose says that the caller asks for details.
	Verbose bool
}

// phases maps the name of the hook's directory, or the --hook option, to a
// verb, as Debian's kernel packages define it. In all other phases the hook
// does nothing; above all it does not build.
var phases = map[string]Verb{
	"postinst": KernelPostinst, "header_postinst": KernelPostinst,
	"preinst": KernelPreinst, "prerm": KernelPrerm,
	"boot_guard": BootGuard,
	"postrm":     "", "header_prerm": "", "header_postrm": "",
}

// Parse determines what a hook was called for. argv0 is the path it was started
// by, args are its arguments.
//
//   - /etc/kernel/{postinst,header_postinst,preinst,prerm}.d/dkms VERSION [IMAGE]:
//     Debian kernel handbook, "Update hooks".
//   - /etc/kernel/postinst.d/zzz-dkms-guard, by --hook=boot_guard VERSION [IMAGE].
//   - 40-dkms.install add|remove VERSION ENTRY_DIR [IMAGE]: kernel-install(8).
//   - --hook=apt, pacman, dnf or portage: what the package manager is about to do,
//     before it does it; see [run.Transaction].
//   - --hook=triggered: dpkg or rpm has done everything else, deb-triggers(5) and
//     rpm's file triggers.
//   - preinst.d/40-dkms.install VERSION IMAGE: Gentoo's installkernel(8), whose
//     preinst means "modules are in place, build now", unlike Debian's.
func Parse(argv0 string, args []string, env map[string]string) (Call, error) {
	c := Call{
		Verbose: env["INSTALLKERNEL_VERBOSE"] == "1" || env["KERNEL_INSTALL_VERBOSE"] == "1",
		Debconf: env["DEB_MAINT_PARAMS"] != "" || env["DEBIAN_HAS_FRONTEND"] != "" || env["DPKG_MAINTSCRIPT_PACKAGE"] != "",
	}
	phase := strings.TrimSuffix(filepath.Base(filepath.Dir(argv0)), ".d")
	if len(args) > 0 && strings.HasPrefix(args[0], "--hook=") {
		phase, args = strings.TrimPrefix(args[0], "--hook="), args[1:]
	}
	if slices.Contains(run.Managers, phase) {
		c.Verb, c.Transaction = UpgradeGuard, run.Transaction{Manager: phase, Words: args}
		return c, nil
	}
	if phase == "triggered" {
		c.Verb, c.Debconf = Settle, true
		return c, nil
	}
	if len(args) == 0 {
		return c, exit.Errorf(exit.Usage, "no kernel release was given").
			WithHint("usage: dkms-hook [--hook=postinst|header_postinst|preinst|prerm] RELEASE, or: dkms-hook add|remove RELEASE")
	}
	installer := env["INSTALLKERNEL_STAGING_AREA"] != "" || strings.HasSuffix(argv0, ".install") && phase == "preinst"
	switch verb, known := phases[phase]; {
	case phase == "install" || !known && isWord(args[0]):
		return c.kernelInstall(args, env)
	case installer:
		c.Verb = KernelPostinst
	case known:
		c.Verb = verb
		c.Debconf = true
	default:
		c.Verb = KernelPostinst
	}
	c.Kernel = args[0]
	return c, c.check()
}

// isWord reports whether s is a verb of kernel-install and not a kernel
// release.
func isWord(s string) bool {
	return s != "" && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// kernelInstall implements the protocol of kernel-install(8). It ignores
// unknown verbs, which later versions may add, and the removal of one boot
// entry of a kernel that stays (KERNEL_INSTALL_BOOT_ENTRY_TYPE).
func (c Call) kernelInstall(args []string, env map[string]string) (Call, error) {
	switch {
	case args[0] == "add":
		c.Verb = KernelPostinst
	case args[0] == "remove" && env["KERNEL_INSTALL_BOOT_ENTRY_TYPE"] == "":
		c.Verb = KernelPrerm
	default:
		return c, nil
	}
	if len(args) < 2 {
		return c, exit.Errorf(exit.Usage, "%s: no kernel release was given", args[0])
	}
	c.Kernel = args[1]
	return c, c.check()
}

func (c Call) check() error {
	if !system.PlainName(c.Kernel) {
		return exit.Errorf(exit.Usage, "kernel release %q is not a plain name", c.Kernel)
	}
	return nil
}

// Main runs the hook in a process and returns its exit status.
func Main(p system.Process) int {
	ctx := p.Begin()
	lines := &report.Lines{W: p.Err}
	r := report.New(p.Err, lines)
	c, err := Parse(p.Name, p.Args, p.Host.Env)
	if err != nil {
		r.Error(err)
		return int(exit.Usage)
	}
	if c.Verb == "" {
		return 0
	}
	lines.Verbose = c.Verbose
	if !c.Debconf {
		r = report.New(p.Out, lines)
	}
	m, err := machine.New(ctx, p.Host, system.NewRunner(p.Host), r, machine.Settings{LockWait: machine.Patience})
	if err != nil {
		r.Error(err)
		return 0 // a broken framework.conf must not keep a kernel from being installed
	}
	if c.Verb == UpgradeGuard {
		c.Transaction.In = p.In
		return guard(ctx, m, c.Transaction)
	}
	code, err := c.run(ctx, m)
	if err != nil {
		r.Error(err)
		code = exit.Status(err)
	}
	return status(m, c, system.Status(ctx, code))
}

// guard is the status for the package manager, which stops before it changes
// anything if the status is not 0. An error of the guard itself stops nothing.
func guard(ctx context.Context, m *machine.Machine, t run.Transaction) int {
	code, err := run.Guard(ctx, m, t)
	if err != nil {
		m.Report.Error(err)
		return 0
	}
	return int(system.Status(ctx, code))
}

// run carries out the call.
func (c Call) run(ctx context.Context, m *machine.Machine) (exit.Code, error) {
	if err := run.NeedRoot(m, string(c.Verb)); err != nil {
		return 0, err
	}
	switch c.Verb {
	case BootGuard:
		return exit.OK, run.BootGuard(ctx, m)
	case Settle:
		return run.Settle(ctx, m)
	}
	choice := machine.Choice{Kernels: []string{c.Kernel}}
	switch c.Verb {
	case KernelPreinst:
		return run.KernelPreinst(ctx, m, choice, run.Options{})
	case KernelPrerm:
		return run.KernelPrerm(ctx, m, choice, run.Options{})
	}
	return run.Autoinstall(ctx, m, choice, run.Options{}, true)
}

// status returns the exit status for the caller.
func status(m *machine.Machine, c Call, code exit.Code) int {
	switch {
	case code == exit.OK:
		return 0
	case c.Verb == Settle: // a failure here would be one of the package of dkms
		m.Report.Warnf("dkms check says what is ready and what to do about the rest")
	case m.Framework.HookErrors == "fail" && code != exit.NoHeaders:
		if code == exit.Excluded {
			return int(exit.Usage)
		}
		return int(code)
	case code == exit.NoHeaders:
		m.Report.Warnf("kernel %s: modules are built once its headers are there", c.Kernel)
	default:
		m.Report.Warnf("kernel %s has no working build of the modules above; do not boot it if you need them", c.Kernel)
		m.Report.Warnf("dkms check -k %s says what is ready and what to do about the rest", c.Kernel)
	}
	return 0
}
