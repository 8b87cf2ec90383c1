package cli

import (
	"context"
	"io"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/fleet"
	"dkms/pkg/inspect"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/run"
	"dkms/pkg/tree"
)

// Verb is what a request asks for; the words are those of the command line.
type Verb string

// The verbs.
const (
	Add            Verb = "add"
	Build          Verb = "build"
	Install        Verb = "install"
	Uninstall      Verb = "uninstall"
	Unbuild        Verb = "unbuild"
	Remove         Verb = "remove"
	Autoinstall    Verb = "autoinstall"
	Status         Verb = "status"
	Match          Verb = "match"
	GenerateMOK    Verb = "generate_mok"
	Check          Verb = "check"
	Why            Verb = "why"
	Log            Verb = "log"
	Doctor         Verb = "doctor"
	Rehearse       Verb = "rehearse"
	Lint           Verb = "lint"
	Sign           Verb = "sign"
	MOK            Verb = "mok"
	Mktarball      Verb = "mktarball"
	Ldtarball      Verb = "ldtarball"
	Export         Verb = "export"
	Import         Verb = "import"
	KernelPreinst  Verb = "kernel_preinst"
	KernelPostinst Verb = "kernel_postinst"
	KernelPrerm    Verb = "kernel_prerm"
)

// Request is the command line, sorted.
type Request struct {
	Verb                     Verb
	Name, Version            string
	Source                   string
	Kernels, Arches          []string
	Conf                     string
	All                      bool
	Force, ForceVersion      bool
	NoDepmod                 bool
	DryRun                   bool
	JSON                     bool
	Quiet                    bool
	Fix                      bool
	Template                 string
	Action                   string
	PasswordFile, HashFile   string
	Archive                  string
	Input                    io.Reader
	Prompt                   io.Writer
	BinariesOnly, SourceOnly bool
	Others                   []string
	Format                   string
	Busybox                  string
	Certificate              string
	Insecure                 bool
	Modprobe                 bool
	SafeUpgrade              bool
}

func do(ctx context.Context, m *machine.Machine, req Request) (exit.Code, error) {
	if req.BinariesOnly && req.SourceOnly {
		return 0, exit.Errorf(exit.OnlyConflict, "--binaries-only and --source-only exclude each other")
	}
	choice := machine.Choice{Kernels: req.Kernels, Arches: req.Arches}
	if err := choice.Check(req.All); err != nil {
		return 0, err
	}
	if req.Verb != Status && req.Verb != Check {
		if needsRoot(&req) {
			if err := run.NeedRoot(m, string(req.Verb)); err != nil {
				return 0, err
			}
		}
		if err := choice.CheckNotEmpty(); err != nil {
			return 0, err
		}
		banned := []Verb{Export, Import, Add, Build, Install, Autoinstall, Match, KernelPreinst, KernelPostinst, KernelPrerm, Why, Log, Doctor, Rehearse, Lint}
		if req.All && slices.Contains(banned, req.Verb) {
			return 0, exit.Errorf(exit.AllBanned, "%s does not take --all", req.Verb).WithHint("-k RELEASE names a kernel")
		}
	}
	o := run.Options{DryRun: req.DryRun, Force: req.Force, ForceVersion: req.ForceVersion, NoDepmod: req.NoDepmod, Modprobe: req.Modprobe, SafeUpgrade: req.SafeUpgrade}
	n := run.Named{Name: req.Name, Version: req.Version, Source: req.Source, Archive: req.Archive, Input: req.Input, Conf: req.Conf}
	q := inspect.Query{Name: req.Name, Version: req.Version, Choice: choice, JSON: req.JSON, Quiet: req.Quiet}
	id := tree.ID{Name: req.Name, Version: req.Version}
	switch req.Verb {
	case Status:
		return exit.OK, inspect.Status(ctx, m, q)
	case Autoinstall:
		return run.Autoinstall(ctx, m, choice, o, false)
	case KernelPostinst:
		return run.Autoinstall(ctx, m, choice, o, true)
	case KernelPreinst:
		return run.KernelPreinst(ctx, m, choice, o)
	case KernelPrerm:
		return run.KernelPrerm(ctx, m, choice, o)
	case Match:
		return run.Match(ctx, m, req.Name, req.Template, choice, o)
	case GenerateMOK:
		return exit.OK, run.GenerateMOK(ctx, m, choice, o)
	case Check:
		return inspect.Check(ctx, m, q)
	case Why:
		return exit.OK, inspect.Why(ctx, m, q)
	case Log:
		return exit.OK, inspect.Log(ctx, m, q)
	case Doctor:
		return doctor(ctx, m, choice, req, o)
	case Rehearse:
		if req.Name != "" || req.Source != "" {
			return 0, exit.Errorf(exit.Usage, "rehearse takes no module: it is about all of them").WithHint("dkms rehearse -k RELEASE")
		}
		return run.Rehearse(ctx, m, choice, req.JSON, o)
	case Lint:
		return inspect.Lint(ctx, m, inspect.Source{Dir: req.Source, Name: req.Name, Version: req.Version, Conf: req.Conf, Choice: choice})
	case Sign:
		return run.Sign(ctx, m, n, choice, o)
	case MOK:
		if req.Action != "enroll" {
			return inspect.MOK(ctx, m, q)
		}
		return exit.OK, run.Enroll(ctx, m, choice, run.Enrolment{PasswordFile: req.PasswordFile, HashFile: req.HashFile, Input: req.Input, Prompt: req.Prompt}, o.DryRun)
	case Mktarball:
		return exit.OK, run.Mktarball(ctx, m, run.Tarball{Named: n, Choice: choice, All: req.All, BinariesOnly: req.BinariesOnly, SourceOnly: req.SourceOnly}, o)
	case Ldtarball:
		return exit.OK, run.Ldtarball(ctx, m, n, choice, o)
	case Export:
		e := fleet.Export{Choice: choice, Format: req.Format, Path: req.Archive, Busybox: req.Busybox, Force: req.Force, DryRun: req.DryRun, JSON: req.JSON}
		if req.Name != "" {
			e.Modules = append([]string{strings.TrimSuffix(req.Name+"/"+req.Version, "/")}, req.Others...)
		}
		return exit.OK, run.Export(ctx, m, e)
	case Import:
		return run.Import(ctx, m, run.Imported{Image: req.Archive, Name: req.Name, Version: req.Version, Choice: choice, Certificate: req.Certificate, Insecure: req.Insecure}, o)
	case Add:
		return exit.OK, run.Add(ctx, m, n, choice, o)
	case Build:
		return run.Build(ctx, m, n, choice, o)
	case Install:
		return run.Install(ctx, m, n, choice, o)
	case Uninstall:
		return run.Uninstall(ctx, m, id, choice, req.All, o)
	case Unbuild:
		return run.Unbuild(ctx, m, id, choice, req.All, o)
	case Remove:
		return run.Remove(ctx, m, id, choice, req.All, o)
	}
	return 0, exit.Errorf(exit.Usage, "unknown action %q", req.Verb)
}

func doctor(ctx context.Context, m *machine.Machine, choice machine.Choice, req Request, o run.Options) (exit.Code, error) {
	found, err := inspect.Examine(ctx, m, choice, req.Force)
	if err != nil {
		return 0, err
	}
	if cures := inspect.Cures(found); req.Fix && !req.DryRun && len(cures) > 0 {
		if err := run.Heal(ctx, m, cures, o); err != nil {
			return 0, err
		}
		before := found
		if found, err = inspect.Examine(ctx, m, choice, req.Force); err != nil {
			return 0, err
		}
		for _, f := range inspect.Gone(before, found) {
			m.Report.Emit(report.Event{Kind: report.Done, Step: "fix", Text: "fixed: " + f.Text})
		}
	}
	return inspect.Prescription{JSON: req.JSON, Fix: req.Fix, DryRun: req.DryRun}.Tell(m, found)
}

// needsRoot: the verbs that change the install tree do; the others do where
// the dkms tree says so.
func needsRoot(req *Request) bool {
	if req.DryRun {
		return false
	}
	switch req.Verb {
	case Add, Build, Unbuild, Remove, GenerateMOK, Mktarball:
		return req.Source != ""
	case MOK:
		return req.Action == "enroll"
	case Why, Log, Rehearse, Lint:
		return false
	case Doctor:
		return req.Fix
	}
	return true
}
