// Package engine carries out what a door was asked for: it turns a request
// into a plan, the plan into changes, and the changes into events and an exit
// status. It is the only room that knows the whole story.
//
// It guarantees that one module never stops another, that nothing is called
// done which is not, and that a run that has nothing to do starts no program.
package engine

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/install"
	"dkms/pkg/kernel"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
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

// Request is what a door asks of the engine.
type Request struct {
	Verb Verb
	// Name and Version are the module; status takes shell patterns.
	Name, Version string
	// Source is a directory with a dkms.conf, in place of a module.
	Source string
	// Kernels and Arches are -k and -a, in order; a kernel may carry its
	// arch behind a slash.
	Kernels, Arches []string
	// Conf is -c: the dkms.conf to read.
	Conf string
	// All stands for every kernel that the module is built for.
	All bool
	// Force and ForceVersion are --force and --force-version-override.
	Force, ForceVersion bool
	// NoDepmod leaves the module indexes to the caller.
	NoDepmod bool
	// DryRun only shows the plan.
	DryRun bool
	// JSON makes the verbs that only tell something print JSON.
	JSON bool
	// Fix makes doctor do what is safe.
	Fix bool
	// Template is the kernel that match takes after.
	Template string
	// Action is what mok is to do: "status" or "enroll".
	Action string
	// PasswordFile and HashFile hold the password of an enrolment.
	PasswordFile, HashFile string
	// Archive is the tarball to write or load; Input is what "-" reads.
	Archive string
	Input   io.Reader
	// Prompt is where a program writes that asks the person at the terminal.
	Prompt io.Writer
	// BinariesOnly and SourceOnly limit what mktarball takes.
	BinariesOnly, SourceOnly bool
	// Others are further modules, NAME or NAME/VERSION, of export.
	Others []string
	// Format is what export writes: "oci" or "tar".
	Format string
	// Busybox is the shell of exported images: a file, "none", or "" for what
	// is installed.
	Busybox string
	// Certificate is what imported builds may be signed with, in place of
	// prebuilt_certificate; Insecure does without TLS.
	Certificate string
	Insecure    bool
	// Modprobe loads what is wanted of the modules just installed.
	Modprobe bool
	// SafeUpgrade is --rpm_safe_upgrade.
	SafeUpgrade bool

	// uncopied is where the sources are that only a real run would copy.
	uncopied string
	// unloaded are the builds of an archive that only a real run would load.
	unloaded []tree.Target
}

// Settings are what the command line sets for the whole run.
type Settings struct {
	// State, Source and Install replace the trees.
	State, Source, Install string
	// Jobs is -j; nil leaves it to framework.conf and the CPUs.
	Jobs *int
	// Headers and Config are --kernelsourcedir and --config.
	Headers, Config string
	// Directives are NAME=VALUE for every dkms.conf.
	Directives []string
	// Symlink is --symlink-modules.
	Symlink bool
}

// Engine carries out requests on one machine or image.
type Engine struct {
	host         system.Host
	report       *report.Reporter
	run          *system.Runner
	tree         *tree.Tree
	reader       *conf.Reader
	framework    *conf.Framework
	distribution string
	settings     Settings
	installer    *install.Installer

	kernels map[string]*kernel.Kernel
	signers map[string]signing
	depmod  map[string]bool // kernel releases whose index is out of date
	locked  bool
	untidy  bool // the system has failed a step
	// away keeps a run from waiting twice for a prebuilt_source that does not
	// answer.
	away atomic.Bool
}

type signing struct {
	signer *sign.Signer
	err    error
}

// New reads the framework's configuration and returns an engine for h.
func New(ctx context.Context, h system.Host, run *system.Runner, r *report.Reporter, s Settings) (*Engine, error) {
	distribution, err := conf.Distribution(h.Root)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		host: h, report: r, run: run, settings: s, distribution: distribution,
		kernels: map[string]*kernel.Kernel{}, signers: map[string]signing{}, depmod: map[string]bool{},
	}
	e.reader = &conf.Reader{Host: h, Run: run, Directives: s.Directives, Distribution: distribution}
	if e.framework, err = e.reader.ReadFramework(ctx); err != nil {
		return nil, err
	}
	root := &e.host.Root
	root.State = e.treeDir(s.State, e.framework.DKMSTree)
	root.Source = e.treeDir(s.Source, e.framework.SourceTree)
	root.Install = e.treeDir(s.Install, e.framework.InstallTree)
	if s.Jobs != nil { // a dkms.conf may use what make is told
		e.framework.ParallelJobs = strconv.Itoa(*s.Jobs)
	}
	e.reader.Host, e.reader.Framework = e.host, e.framework
	e.tree = tree.Open(*root)
	e.installer = &install.Installer{
		Tree: e.tree, Report: r, Run: run, Distribution: distribution, ID: conf.DistributionID(h.Root),
		Addon: h.Env["ADDON_MODULES_DIR"], Symlink: s.Symlink || e.framework.SymlinkModules,
	}
	return e, nil
}

// treeDir is the directory of a tree: the command line's, which is relative to
// where the caller stands, or the configuration's.
func (e *Engine) treeDir(given, configured string) string {
	if given != "" {
		return e.host.Abs(given)
	}
	return configured
}

// Framework is the configuration that the engine runs with.
func (e *Engine) Framework() *conf.Framework { return e.framework }

// Do carries out a request, reports on it and returns the exit status.
func (e *Engine) Do(ctx context.Context, req Request) exit.Code {
	code, err := e.do(ctx, &req)
	if err != nil {
		e.report.Error(err)
		return exit.Status(err)
	}
	return code
}

func (e *Engine) do(ctx context.Context, req *Request) (exit.Code, error) {
	if req.Verb != Autoinstall {
		ctx.Done() // from here on a signal ends what is under way in good order
	}
	if err := e.refuse(req); err != nil {
		return 0, err
	}
	switch req.Verb {
	case Status:
		return exit.OK, e.status(ctx, req)
	case Autoinstall, KernelPostinst:
		return e.autoinstall(ctx, req)
	case KernelPreinst, KernelPrerm:
		return e.dropKernel(ctx, req)
	case Match:
		return e.match(ctx, req)
	case GenerateMOK:
		return exit.OK, e.generateMOK(ctx, req)
	case Check:
		return e.check(ctx, req)
	case Why:
		return exit.OK, e.why(ctx, req)
	case Log:
		return exit.OK, e.log(req)
	case Doctor:
		return e.doctor(ctx, req)
	case Rehearse:
		return e.rehearse(ctx, req)
	case Lint:
		return e.lint(ctx, req)
	case Sign:
		return e.resign(ctx, req)
	case MOK:
		return e.mok(ctx, req)
	case Mktarball:
		return exit.OK, e.locking(ctx, req, func() error { return e.mktarball(ctx, req) })
	case Export:
		return exit.OK, e.locking(ctx, req, func() error { return e.export(ctx, req) })
	case Import:
		return e.importImage(ctx, req)
	case Ldtarball:
		return exit.OK, e.locking(ctx, req, func() error { return e.ldtarball(ctx, req) })
	case Add:
		return exit.OK, e.locking(ctx, req, func() error { return e.add(ctx, req) })
	case Build, Install:
		return e.buildOrInstall(ctx, req)
	case Uninstall, Unbuild, Remove:
		return e.takeOut(ctx, req)
	}
	return 0, exit.Errorf(exit.Usage, "unknown action %q", req.Verb)
}

// refuse says what no verb can do anything with.
func (e *Engine) refuse(req *Request) error {
	switch {
	case req.BinariesOnly && req.SourceOnly:
		return exit.Errorf(exit.OnlyConflict, "--binaries-only and --source-only exclude each other")
	case len(req.Arches) > 1 && len(req.Arches) != len(req.Kernels):
		return exit.Errorf(exit.Usage, "%d architectures were given for %d kernels", len(req.Arches), len(req.Kernels)).
			WithHint("-a is given once, or once for every -k")
	case len(req.Kernels) > 0 && req.All:
		return exit.Errorf(exit.BadOption, "-k and --all exclude each other").
			WithHint("-k names kernels, --all means every kernel that the module is built for")
	case len(req.Arches) > 0 && req.All:
		return exit.Errorf(exit.ArchWithAll, "-a and --all exclude each other").
			WithHint("--all means every kernel and architecture that the module is built for")
	}
	if req.Verb == Status || req.Verb == Check {
		return nil
	}
	if e.host.UID != 0 && e.needsRoot(req) {
		return exit.Errorf(exit.Usage, "%s changes the system: only root may do that", req.Verb).
			WithHint("sudo dkms %s ...", req.Verb)
	}
	for _, k := range slices.Concat(req.Kernels, req.Arches) {
		if strings.Trim(k, " ") == "" {
			return exit.Errorf(exit.EmptyTarget, "an empty kernel release or architecture was given").
				WithHint("-k RELEASE or -k RELEASE/ARCH, as in /lib/modules")
		}
	}
	banned := []Verb{Export, Import, Add, Build, Install, Autoinstall, Match, KernelPreinst, KernelPostinst, KernelPrerm, Why, Log, Doctor, Rehearse, Lint}
	if req.All && slices.Contains(banned, req.Verb) {
		return exit.Errorf(exit.AllBanned, "%s does not take --all", req.Verb).WithHint("-k RELEASE names a kernel")
	}
	return nil
}

// needsRoot: the verbs that change the install tree do; the others do where
// the dkms tree says so.
func (e *Engine) needsRoot(req *Request) bool {
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

// kernel describes a target; asking twice reads nothing twice.
func (e *Engine) kernel(t tree.Target) *kernel.Kernel {
	key := t.String()
	if e.kernels[key] == nil {
		o := kernel.Options{}
		if e.settings.Headers != "" {
			o.Headers = e.host.Abs(e.settings.Headers)
		}
		if e.settings.Config != "" {
			o.Config = e.host.Abs(e.settings.Config)
		}
		e.kernels[key] = kernel.New(e.host.Root, t.Kernel, t.Arch, o)
	}
	return e.kernels[key]
}

// id is the module that a request names.
func (e *Engine) id(req *Request) (tree.ID, error) {
	id := tree.ID{Name: req.Name, Version: req.Version}
	if id.Name == "" || id.Version == "" {
		return id, exit.Errorf(exit.Usage, "%s needs a module and its version", req.Verb).WithHint("%s", e.versionHint(req))
	}
	return id, id.Check()
}

// versionHint says how to name a module version: with those that there are of
// the module that was named.
func (e *Engine) versionHint(req *Request) string {
	general := fmt.Sprintf("dkms %s MODULE/VERSION; dkms status lists what is registered", req.Verb)
	if !system.PlainName(req.Name) {
		return general
	}
	var known []string
	versions, _ := e.tree.Known(req.Name)
	for _, v := range versions {
		if v.State != tree.Absent {
			known = append(known, v.ID.Version)
		}
	}
	if req.Verb == Add || req.Verb == Build || req.Verb == Install {
		dirs, _ := filepath.Glob(filepath.Join(e.host.Root.SourceTree(), req.Name+"-[0-9]*", "dkms.conf"))
		for _, d := range dirs {
			known = append(known, strings.TrimPrefix(filepath.Base(filepath.Dir(d)), req.Name+"-"))
		}
	}
	if len(known) == 0 {
		return general
	}
	slices.SortFunc(known, version.Compare)
	var lines []string
	for _, v := range slices.Compact(known) {
		lines = append(lines, fmt.Sprintf("dkms %s %s/%s", req.Verb, req.Name, v))
	}
	return strings.Join(lines, "\n")
}

// targets are the kernels of a request: the given ones or, where none were,
// those that discover finds.
func (e *Engine) targets(req *Request, discover func() ([]string, error)) ([]tree.Target, error) {
	var list []tree.Target
	arches := slices.Clone(req.Arches)
	for i, k := range req.Kernels {
		release, arch, _ := strings.Cut(k, "/")
		switch {
		case arch != "":
		case len(arches) == 1:
			arch = arches[0]
		case i < len(arches):
			arch = arches[i]
		default:
			arch = e.host.Machine
		}
		list = append(list, tree.Target{Kernel: release, Arch: arch})
	}
	if len(req.Kernels) == 0 {
		releases, err := discover()
		if err != nil {
			return nil, err
		}
		for _, r := range releases {
			t := tree.Target{Kernel: r, Arch: e.host.Machine}
			if len(arches) > 0 {
				t.Arch = arches[0]
			}
			list = append(list, t)
		}
	}
	for _, t := range list {
		if err := t.Check(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// discover finds the kernels to build for when none was named, and says so
// where the choice is not the obvious one.
func (e *Engine) discover() ([]string, error) {
	releases, why, err := kernel.Select(e.host)
	if why != "" {
		e.report.Progressf("%s", why)
	}
	return releases, err
}

// running is the running kernel, for verbs that take something away: those
// never guess.
func (e *Engine) running() ([]string, error) { return []string{e.host.Release}, nil }

// oneKernel are the targets of a verb that takes one kernel only.
func (e *Engine) oneKernel(req *Request) ([]tree.Target, error) {
	if len(req.Kernels) > 1 || len(req.Kernels) == 0 && req.Verb != Autoinstall {
		return nil, exit.Errorf(exit.KernelCount, "%s takes exactly one kernel", req.Verb).
			WithHint("dkms %s -k RELEASE", req.Verb)
	}
	return e.targets(req, e.discover)
}

// directives are --directive NAME=VALUE as a map.
func (e *Engine) directives() map[string]string {
	return maps.Clone(system.EnvMap(e.settings.Directives))
}
