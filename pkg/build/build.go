// Package build turns the sources of a module version into the staged,
// stripped, signed and compressed modules of one kernel.
//
// It guarantees that a build appears in the tree whole or not at all, that an
// earlier build of the same target stays until the new one is ready, and that
// every module of it is an ELF module made for that kernel release and
// architecture.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/report"
	"dkms/pkg/script"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Release is the version of DKMS whose behaviour this program has.
const Release = "dkms-3.4.3"

// Builder is what all builds of a run share.
type Builder struct {
	Host      system.Host
	Tree      *tree.Tree
	Run       *system.Runner
	Report    *report.Reporter
	Framework *conf.Framework
	// Environment is the file that build_environment names; what it exports
	// is added to the environment of the build.
	Environment string
	// Jobs is the -j of make; empty is without limit.
	Jobs string
	// Directives are the names and values of --directive, which the scripts
	// and make see in their environment.
	Directives map[string]string
	// Force carries on where a build would stop for a module made for
	// another kernel.
	Force bool
	// Rehearsal says that nobody else is to hear of a failure.
	Rehearsal bool
}

// Job is one module version to build for one kernel.
type Job struct {
	ID     tree.ID
	Kernel *kernel.Kernel
	Conf   *conf.Module
	// Signer signs the modules; nil leaves them unsigned.
	Signer *sign.Signer
}

func (j *Job) target() tree.Target { return tree.Target{Kernel: j.Kernel.Release, Arch: j.Kernel.Arch} }

// ConfTarget is the kernel as dkms.conf sees it.
func ConfTarget(k *kernel.Kernel, clang bool) conf.Target {
	return conf.Target{Release: k.Release, Arch: k.Arch, SourceDir: k.Headers, ConfigFile: k.ConfigFile, Clang: clang}
}

// work is one build under way.
type work struct {
	*Builder
	Job
	dir     string // where make runs
	log     *buildLog
	tools   kernel.Toolchain
	env     map[string]string
	records []conf.Record
	format  module.Compression
	// fingerprint is that of the inputs, taken before anything is built, and
	// source that of the sources.
	fingerprint, source string
}

// Failure is an error of a build that its inputs are to blame for.
type Failure struct {
	Err         error
	Fingerprint string
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the underlying error to [errors.Is] and [errors.As].
func (f *Failure) Unwrap() error { return f.Err }

// Build builds j and puts the result into the tree. On failure the tree has
// what it had before, and the scratch directory keeps the sources and the
// log for whoever looks into it.
func (b *Builder) Build(ctx context.Context, j Job) (*tree.Manifest, error) {
	w := &work{Builder: b, Job: j, dir: b.Tree.ScratchDir(j.ID), tools: j.Kernel.Toolchain(b.Run)}
	target := ConfTarget(j.Kernel, w.tools.Clang)
	w.records = j.Conf.Active(target, configLookup(j.Kernel))
	var err error
	if w.fingerprint, err = b.Fingerprint(j); err != nil {
		return nil, err
	}
	if w.source, err = b.SourceDigest(j); err != nil {
		return nil, err
	}
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	defer w.log.Close()
	if err := w.compile(ctx, target); err != nil {
		return nil, err
	}
	manifest, err := w.keep(ctx)
	if err != nil {
		return nil, err
	}
	return manifest, w.finish()
}

// configLookup is how conf asks for kernel configuration; nil says that there
// is none to ask.
func configLookup(k *kernel.Kernel) func(string) string {
	if !k.Config().Found() {
		return nil
	}
	return k.Config().Get
}

// prepare lays out the scratch directory: the sources, the admin's patches
// and the log.
func (w *work) prepare(ctx context.Context) error {
	sources := w.Tree.SourceLink(w.ID)
	entries, err := os.ReadDir(sources)
	if err != nil {
		return exit.Errorf(exit.EmptySource, "%s: %w", w.ID, err)
	}
	visible := 0
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			visible++
		}
	}
	if visible < 2 {
		return exit.Errorf(exit.EmptySource, "%s: %s holds nothing to build", w.ID, w.Tree.Sources(w.ID))
	}
	if missing := w.tools.Missing(); missing != "" {
		w.Report.Warnf("%s: kernel %s was built with %s, which is not installed; using the default compiler", w.ID, w.Kernel.Release, missing)
	}
	if err := keepAttempt(w.Tree, w.ID); err != nil {
		w.Report.Warnf("%s: the log of the last build is lost: %v", w.ID, err)
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return err
	}
	if err := system.CopyTree(w.dir, sources, true); err != nil {
		return err
	}
	if overlay := w.Host.Root.Path("/etc/dkms/" + w.ID.Name + "/patches"); system.IsDir(overlay) {
		if err := system.CopyTree(filepath.Join(w.dir, "patches"), overlay, true); err != nil {
			return err
		}
	}
	title := fmt.Sprintf("DKMS (%s) make.log for %s for kernel %s", Release, w.ID, w.target())
	w.log, err = openLog(w.Tree.ScratchLog(w.ID), title, w.Host.Now)
	if err != nil {
		return err
	}
	return w.environment(ctx)
}

// environment is what make and the scripts see beyond the runner's base.
func (w *work) environment(ctx context.Context) error {
	w.env = map[string]string{
		"module": w.ID.Name, "module_version": w.ID.Version,
		"kernelver": w.Kernel.Release, "arch": w.Kernel.Arch,
	}
	maps.Copy(w.env, w.Directives)
	for name, value := range map[string]string{"CC": w.tools.CC, "KERNEL_CC": w.tools.CC, "LD": w.tools.LD, "KERNEL_LD": w.tools.LD} {
		if value != "" {
			w.env[name] = value
		}
	}
	if w.Environment == "" || !system.IsFile(w.Environment) {
		return nil
	}
	added, err := sourceEnvironment(ctx, w.Run, w.Environment, w.env)
	if err != nil {
		return fmt.Errorf("build_environment: %w", err)
	}
	maps.Copy(w.env, added)
	return nil
}

// sourceEnvironment sources file in bash and returns the variables that are
// exported afterwards.
func sourceEnvironment(ctx context.Context, run *system.Runner, file string, env map[string]string) (map[string]string, error) {
	const show = `source "$1" >/dev/null </dev/null; exec env -0`
	out, err := run.Output(ctx, system.Cmd{Argv: []string{"bash", "-c", show, "dkms", file}, Env: env})
	if err != nil {
		return nil, err
	}
	added := system.EnvMap(strings.Split(string(out), "\x00"))
	for _, name := range []string{"PWD", "OLDPWD", "SHLVL", "_"} {
		delete(added, name)
	}
	return added, nil
}

// compile patches the sources and runs PRE_BUILD and make.
func (w *work) compile(ctx context.Context, target conf.Target) error {
	if err := w.patch(ctx); err != nil {
		return err
	}
	if err := w.hook(ctx, "PRE_BUILD", w.Conf.PreBuild); err != nil {
		return err
	}
	command := conf.MakeLine(w.Conf.MakeCommand(target, w.dir), w.Jobs, w.Kernel.Release)
	if err := w.log.shell(ctx, w.Run, "Building module(s)", command, w.dir, w.env); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return w.failed(exit.MakeFailed, fmt.Errorf("make failed: %s", how(err)))
	}
	for _, r := range w.records {
		if err := w.check(w.built(r)); err != nil {
			return w.failed(exit.NoModule, err)
		}
	}
	return nil
}

// built is where make must have left the module of a record.
func (w *work) built(r conf.Record) string {
	return filepath.Join(w.dir, r.BuiltLocation, r.BuiltName+".ko")
}

// check makes sure that a file is a module for this kernel: one that it
// would refuse to load must not be called built.
func (w *work) check(file string) error {
	name, _ := filepath.Rel(w.dir, file)
	if !system.IsFile(file) {
		return fmt.Errorf("make succeeded but did not build %s", name)
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%s lies outside the build directory", name)
	}
	info, err := module.Read(file)
	if err != nil {
		return err
	}
	want := kernel.Machine(w.Kernel.Arch)
	var wrong error
	switch {
	case want != 0 && info.Machine != want:
		wrong = fmt.Errorf("%s was built for %s, not for %s", name, info.Machine, w.Kernel.Arch)
	case info.Release() != w.Kernel.Release:
		wrong = fmt.Errorf("%s was built for kernel %q, not for %s", name, info.Release(), w.Kernel.Release)
	}
	if wrong != nil && w.Force {
		w.Report.Warnf("%s: %v; kept because of --force", w.ID, wrong)
		return nil
	}
	return wrong
}

// how a command line of the package ended; that a shell ran it is of no
// interest.
func how(err error) string {
	if e, ok := errors.AsType[*system.ExitError](err); ok {
		return e.How()
	}
	return err.Error()
}

func (w *work) patch(ctx context.Context) error {
	for _, p := range w.Conf.Patches(w.Kernel.Release) {
		file := filepath.Join(w.dir, "patches", p)
		if !filepath.IsLocal(p) || strings.Contains("/"+p+"/", "/../") {
			return w.failed(exit.BadPatch, fmt.Errorf("patch %s: not a name inside patches/", p))
		}
		if !system.IsFile(file) {
			return w.failed(exit.BadPatch, fmt.Errorf("patch %s: no such file in %s", p, filepath.Join(w.dir, "patches")))
		}
		// The file is named by argument: its name never meets a shell.
		err := w.log.shell(ctx, w.Run, "Applying patch "+p, "patch -p1 < ./patches/"+shellQuote(p), w.dir, w.env)
		if err != nil {
			return w.failed(exit.PatchFailed, fmt.Errorf("patch %s does not apply: %s", p, how(err)))
		}
	}
	return nil
}

func shellQuote(s string) string {
	safe := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+:@-") == ""
	if safe {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// hook runs PRE_BUILD or POST_BUILD with its output in the log; the exit
// status of a failing one is that of the command.
func (w *work) hook(ctx context.Context, name, line string) error {
	if line == "" {
		return nil
	}
	s := script.Script{
		Hook: name, Line: line, Dir: w.dir, Override: w.Host.Root.Path("/etc/dkms/" + w.ID.Name),
		Env: w.env, Shell: true,
	}
	err := w.log.step("Running the "+strings.ToLower(name)+" script", "cd "+w.dir+"/ && "+w.dir+"/"+line, func(out io.Writer) error {
		s.Out = out
		return s.Run(ctx, w.Run)
	})
	var missing *script.Missing
	var status *system.ExitError
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.As(err, &missing):
		w.Report.Warnf("%s: %v", w.ID, missing)
		return nil
	case errors.As(err, &status) && status.Status > 0:
		return w.failed(exit.Code(status.Status), fmt.Errorf("%s failed: %s", name, how(err)))
	}
	return w.failed(exit.Usage, fmt.Errorf("%s failed: %s", name, how(err)))
}

// failed makes the error of a step of the build: what failed, the first error
// of the log and where the rest of it is.
func (w *work) failed(code exit.Code, err error) error {
	log := w.Tree.ScratchLog(w.ID)
	text := []string{fmt.Sprintf("%s: kernel %s: %v", w.ID, w.Kernel.Release, err)}
	if code == exit.MakeFailed || code == exit.PatchFailed {
		for _, line := range FirstError(log) {
			text = append(text, "  "+line)
		}
	}
	w.apport()
	failed := exit.Errorf(code, "%s", strings.Join(text, "\n")).WithHint("the whole log is in %s", log)
	if machineTrouble(text) {
		return failed
	}
	return &Failure{failed, w.fingerprint}
}

// machineTrouble tells failures that another try may not have.
func machineTrouble(text []string) bool {
	for _, line := range text {
		for _, mark := range []string{"No space left on device", "Killed signal", "Cannot allocate memory", "ended by signal"} {
			if strings.Contains(line, mark) {
				return true
			}
		}
	}
	return false
}

// apport lets Ubuntu's crash reporter collect the log of a failed build,
// where it is installed. What it says and how it ends is its own affair.
func (w *work) apport() {
	root := w.Host.Root
	if w.Rehearsal || !system.IsExecutable(root.Path("/usr/share/apport/apport")) || !w.Run.Has("python3") {
		return
	}
	w.Run.Run(context.Background(), system.Cmd{Argv: []string{
		"python3", root.Path("/usr/share/apport/package-hooks/dkms_packages.py"),
		"-m", w.ID.Name, "-v", w.ID.Version, "-k", w.Kernel.Release,
	}})
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
