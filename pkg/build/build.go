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
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

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

// Release is the version of DKMS whose behaviour this program implements.
const Release = "dkms-3.4.3"

// Mark is the environment variable that names the build to its programs: a
// program of a build that runs dkms must not wait for that same build.
const Mark = "DKMS_IN_BUILD"

// Builder holds what all builds of a run share.
type Builder struct {
	Inputs
	// Tree is the tree that builds are written to.
	Tree   *tree.Writer
	Report *report.Reporter
	// Pool limits how many builds and compilers run at the same time.
	Pool *Pool
	// Confine says how builds are confined; with nil, builds are not confined.
	Confine *Confinement
	// Idle gives builds only the processor and disk time that nobody else
	// wants.
	Idle bool
	// StandsFor is the tree that a rehearsal builds for, in a tree of its own: the
	// commands of its confined builds see everything where a real build has it.
	// With nil, builds are real.
	StandsFor *tree.Tree
}

// Job is one module version to build for one kernel.
type Job struct {
	ID     tree.ID
	Kernel *kernel.Kernel
	Conf   *conf.Module
	// Signer signs the modules; nil leaves them unsigned.
	Signer *sign.Signer
	// Unsigned decides what a failure to sign means: if it returns an error,
	// the build fails; if it returns nil, the modules stay unsigned. Without
	// Unsigned, every failure to sign is an error.
	Unsigned func(err error) error
	// SignLater says that the machine that runs the system is to sign the
	// modules, if Signer is nil.
	SignLater bool
	// Turn is the build's place in the queue; with nil, the build starts as
	// soon as there is room.
	Turn *Turn
	// Begin, if set, is called when the build really starts, with the path of
	// the log. Taken, if set, is called instead when there is a rehearsed build.
	Begin func(log string)
	Taken func()
	// Anew leaves a rehearsed build aside.
	Anew bool
}

func (j *Job) target() tree.Target { return tree.Target{Kernel: j.Kernel.Release, Arch: j.Kernel.Arch} }

// ConfTarget describes the kernel for the evaluation of dkms.conf.
func ConfTarget(k *kernel.Kernel, clang bool) conf.Target {
	return conf.Target{Release: k.Release, Arch: k.Arch, SourceDir: k.Headers, ConfigFile: k.ConfigFile, Clang: clang}
}

// work is one build in progress.
type work struct {
	*Builder
	Job
	scratch *scratch
	ticket  *ticket
	log     *buildLog
	tools   kernel.Toolchain
	env     map[string]string
	records []conf.Record
	format  module.Compression
	// source is the digest of the sources, and stamp describes the kernel's
	// headers; both are taken before anything is built.
	source string
	stamp  tree.Stamp
	// inputs returns the digests of the kernel's headers and of all inputs. The
	// headers are more than a thousand files, so they are read while the
	// compiler runs.
	inputs func() (headers, fingerprint string)
	// readable tells whether the module tools of this system can read modules
	// that are compressed like those of the kernel, which takes a program, while
	// the compiler runs.
	readable func() bool
	// local and localStamp describe the sources as they are on this machine.
	local      string
	localStamp uint64
	// cache is the mounted directory of the compiler cache of a confined build.
	cache *system.Mount
	// lend says that only root can read the headers, so that they are lent to
	// the build user.
	lend bool
	// placed are the directories that the commands of a rehearsal see at the paths of
	// a real build, and final replaces the paths of the rehearsal by those.
	placed []system.Mount
	final  *strings.Replacer
	// faulty says that a command of the package has failed.
	faulty bool
}

// Failure is a build error that is caused by the inputs of the build.
type Failure struct {
	Err         error
	Fingerprint string
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the underlying error for [errors.Is] and [errors.As].
func (f *Failure) Unwrap() error { return f.Err }

// Build builds j and puts the result into the tree. If the build fails, the
// tree keeps its earlier content, and the scratch directory keeps the sources
// and the log for inspection. A build that runs out of memory is tried again
// alone. Several builds may run at the same time.
func (b *Builder) Build(ctx context.Context, j Job) (*tree.Manifest, error) {
	ticket, err := b.Pool.enter(ctx, j.Turn)
	if err != nil {
		return nil, err
	}
	manifest, err := b.build(ctx, j, ticket)
	j.Begin = nil
	ticket.leave()
	if _, short := errors.AsType[*memoryError](err); !short || b.Pool.Jobs == "1" {
		return manifest, err
	}
	b.Report.Warnf("%s: kernel %s: the compiler ran out of memory; trying again with one job at a time", j.ID, j.Kernel.Release)
	if ticket, err = b.Pool.single(ctx); err != nil {
		return nil, err
	}
	defer ticket.leave()
	return b.build(ctx, j, ticket)
}

func (b *Builder) build(ctx context.Context, j Job, ticket *ticket) (manifest *tree.Manifest, err error) {
	w := &work{Builder: b, Job: j, ticket: ticket, tools: j.Kernel.Toolchain(b.Run)}
	if err := w.readyKernel(ctx); err != nil {
		return nil, err
	}
	target := ConfTarget(j.Kernel, w.tools.Clang)
	w.records = j.Conf.Active(target, configLookup(j.Kernel))
	if err := w.checkSources(); err != nil {
		return nil, err
	}
	if w.source, err = b.SourceDigest(j); err != nil {
		return nil, err
	}
	if err := w.takeSources(); err != nil {
		return nil, err
	}
	w.stamp = HeadersStamp(j.Kernel)
	w.inputs = sync.OnceValues(func() (headers, fingerprint string) {
		headers = KernelInputs(j.Kernel, b.Run)
		return headers, b.fingerprint(j, w.source, headers)
	})
	w.readable = sync.OnceValue(func() bool { return module.Readable(ctx, b.Run, j.Kernel.Suffix()) })
	go func() {
		w.inputs()
		if b.StandsFor == nil { // a rehearsal compresses nothing
			w.readable()
		}
	}()
	if manifest, err = (packing{w}).takeRehearsed(ctx); manifest != nil || err != nil {
		return manifest, err
	}
	confined := b.Confine != nil && !j.Conf.NoSandbox
	if w.lend = confined && closed(j.Kernel); w.lend {
		if err := w.checkLending(ctx); err != nil {
			return nil, err
		}
	}
	w.scratch, err = openScratch(b.Pool, b.Tree, j.ID, j.target(), confined, b.seenScratch(j.ID), ticket.user)
	if err != nil {
		return nil, err
	}
	if j.Begin != nil {
		j.Begin(w.scratch.log)
	}
	defer func() {
		if closeErr := w.scratch.close(err != nil); closeErr != nil {
			b.Pool.needsSweep.Store(true)
			b.Report.Warnf("%s: kernel %s: what is left of the build could not be put away: %v", j.ID, j.Kernel.Release, closeErr)
		}
		if w.log != nil {
			w.log.Close() // ends its lock, when the outcome is in the tree
		}
		if w.faulty {
			w.apport(ctx)
		}
	}()
	if err := (aside{w}).place(); err != nil {
		return nil, err
	}
	if err := w.prepare(ctx); err != nil {
		return nil, err
	}
	w.warnDropped()
	if err := w.compile(ctx, target); err != nil {
		return nil, err
	}
	if !confined {
		if err := w.noteOwnChanges(); err != nil {
			return nil, err
		}
	}
	return packing{w}.finish(ctx)
}

// takeSources records the state of the sources, so that later runs can tell
// whether the sources have changed.
func (w *work) takeSources() error {
	s := SourcesOf(w.Inputs.Tree, w.ID, w.target(), nil)
	var err error
	if w.localStamp, err = s.Stamp(); err != nil {
		return err
	}
	w.local, err = s.Digest()
	return err
}

// A build that is not isolated may write to its sources, and the sources would
// then count as changed since the build. noteOwnChanges therefore records their
// state again.
func (w *work) noteOwnChanges() error {
	now, err := SourcesOf(w.Inputs.Tree, w.ID, w.target(), nil).Stamp()
	if err != nil || now == w.localStamp {
		return err
	}
	w.Report.Detailf("%s: the build has changed its own sources", w.ID)
	return w.takeSources()
}

// configLookup returns the function by which conf reads kernel configuration;
// nil says that there is no configuration to read.
func configLookup(k *kernel.Kernel) func(string) string {
	if !k.Config().Found() {
		return nil
	}
	return k.Config().Get
}

// checkSources makes sure that there is something to build.
func (w *work) checkSources() error {
	entries, err := os.ReadDir(w.Tree.SourceLink(w.ID))
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
	return nil
}

// prepare copies the sources and opens the log.
func (w *work) prepare(ctx context.Context) (err error) {
	if err := w.scratch.fill(ctx, w.Tree.SourceLink(w.ID), w.Host.Root.Path("/etc/dkms/"+w.ID.Name+"/patches")); err != nil {
		return err
	}
	title := fmt.Sprintf("DKMS (%s) make.log for %s for kernel %s", Release, w.ID, w.target())
	if w.log, err = openLog(w.scratch.log, title, w.Host.Now); err != nil {
		return err
	}
	if err := w.environment(ctx); err != nil {
		w.log.Close()
		return err
	}
	return nil
}

// compile patches the sources and runs PRE_BUILD and make.
func (w *work) compile(ctx context.Context, target conf.Target) error {
	if err := w.patch(ctx); err != nil {
		return err
	}
	if err := w.hook(ctx, "PRE_BUILD", w.Conf.PreBuild); err != nil {
		return err
	}
	command := conf.MakeLine(w.seen(w.Conf.MakeCommand(target, w.scratch.dir)), w.ticket.makeOption(), w.Kernel.Release)
	if err := w.shell(ctx, "Building module(s)", command); err != nil {
		if ctx.Err() != nil {
			return err
		}
		err = failedBy("make failed", err)
		if strings.Contains(command, "SUBDIRS=") {
			err = exit.Errorf(exit.MakeFailed, "%w", err).WithHint("%s", subdirs)
		}
		failed := w.failed(exit.MakeFailed, err)
		if _, ok := errors.AsType[*Failure](failed); !ok || !w.spares() {
			return failed
		}
		w.faulty = false
		w.Report.Warnf("%v", failed)
		return w.gatherSymvers()
	}
	if err := w.checkBuilt(); err != nil {
		return err
	}
	return w.gatherSymvers()
}

// spares tells whether a failure affects only modules that BUILD_OPTIONAL
// names.
func (w *work) spares() bool {
	all := len(w.records)
	return slices.ContainsFunc(w.records, func(r conf.Record) bool { return r.Optional }) &&
		w.checkBuilt() == nil && len(w.records) < all
}

// checkBuilt makes sure that all modules exist. Missing modules that
// BUILD_OPTIONAL names are left out.
func (w *work) checkBuilt() error {
	var good []conf.Record
	for _, r := range w.records {
		err := w.check(r)
		if err != nil && !r.Optional {
			return w.unfit(exit.NoModule, err)
		}
		if err != nil {
			w.Report.Warnf("%s: kernel %s: left out because of BUILD_OPTIONAL: %v", w.ID, w.Kernel.Release, err)
			continue
		}
		good = append(good, r)
	}
	if len(good) == 0 && len(w.records) > 0 {
		return w.failed(exit.NoModule, errors.New("make succeeded but built none of the modules"))
	}
	w.records = good
	return nil
}

// shell runs a command line of the package and logs it.
func (w *work) shell(ctx context.Context, what, command string) error {
	return w.log.step(what, command, func(out io.Writer) error {
		ctx, stop := w.watchDisk(ctx)
		defer stop()
		return w.watched(ctx, func(ctx context.Context, started func(pid int)) error {
			return w.Run.Run(ctx, system.Cmd{
				Argv: []string{"bash", "-c", command, "dkms"}, Dir: w.scratch.dir, Env: w.env, Stdout: out, Stderr: out,
				EndGroup: true, ExtraFiles: w.ticket.files(), Jail: w.jail(), Idle: w.Idle, Started: started,
			})
		})
	})
}

// built is the path at which make must have left the module of a record.
func built(r conf.Record) string { return filepath.Join(r.BuiltLocation, r.BuiltName+".ko") }

// check makes sure that a file is a module for this kernel: a module that the
// kernel would refuse to load must not count as built.
func (w *work) check(r conf.Record) error {
	name := built(r)
	file, err := w.outside(filepath.Join(w.scratch.dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !system.IsFile(file):
		return leftovers{w}.notBuilt(r)
	case err != nil:
		return err
	}
	info, err := module.Read(file)
	if err != nil {
		return err
	}
	var wrong error
	switch {
	case !kernel.MadeFor(w.Kernel.Arch, info.Machine, info.Data):
		wrong = fmt.Errorf("%s was built for %s %s, not for %s", name, info.Machine, info.Data, w.Kernel.Arch)
	case info.Release() != w.Kernel.Release:
		wrong = exit.Errorf(exit.NoModule, "%s was built for kernel %q, not for %s", name, info.Release(), w.Kernel.Release).
			WithHint("%s", diagnosis{class: otherKernel}.advice("the makefile does not build for the kernel that it is told", w.ID.Name, ""))
	}
	return wrong
}

// hook runs PRE_BUILD or POST_BUILD with its output in the log. If the command
// fails, its exit status is the exit status of the error. more are directories
// that the hook may write to in addition to those of the build.
func (w *work) hook(ctx context.Context, name, line string, more ...string) error {
	if line = w.seen(line); line == "" {
		return nil
	}
	s := script.Script{
		Hook: name, Line: line, Dir: w.scratch.dir, Found: w.scratch.real, Override: w.Host.Root.Path("/etc/dkms/" + w.ID.Name),
		Env: w.env, Shell: true, Jail: w.jail(more...), Files: w.ticket.files(),
	}
	command := fmt.Sprintf("cd %s/ && %[1]s/%s", w.scratch.dir, line)
	err := w.log.step("Running the "+strings.ToLower(name)+" script", command, func(out io.Writer) error {
		s.Out = out
		ctx, stop := w.watchDisk(ctx)
		defer stop()
		return w.watched(ctx, func(ctx context.Context, started func(pid int)) error {
			s.Started = started
			return s.Run(ctx, w.Run)
		})
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
		return w.failed(exit.Code(status.Status), failedBy(name+" failed", err))
	}
	return w.failed(exit.Usage, failedBy(name+" failed", err))
}

// apport lets Ubuntu's crash reporter, where installed, collect the log of a
// failed build. The output and exit status of the reporter are ignored.
func (w *work) apport(ctx context.Context) {
	root := w.Host.Root
	if w.StandsFor != nil || !system.IsExecutable(root.Path("/usr/share/apport/apport")) || !w.Run.Has("python3") {
		return
	}
	w.Run.Run(ctx, system.Cmd{Argv: []string{
		"python3", root.Path("/usr/share/apport/package-hooks/dkms_packages.py"),
		"-m", w.ID.Name, "-v", w.ID.Version, "-k", w.Kernel.Release,
	}})
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
