// Package machine is the one source of truth about a system: its kernels, its
// modules, their health, and who may change them.
//
// It guarantees that every question about the health of a module gets the same
// [Health] as its answer, that [Facts] are read once and never change, and that
// only [Machine.Lock] gives a value that can write.
package machine

import (
	"cmp"
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Settings are the command line options for the whole run.
type Settings struct {
	// State, Source and Install replace the trees.
	State, Source, Install string
	// Jobs is -j; with nil, framework.conf and the number of CPUs decide.
	Jobs *int
	// Headers and Config are --kernelsourcedir and --config.
	Headers, Config string
	// Around is the directory of everything that Headers refer to, where
	// packages of headers were unpacked aside.
	Around string
	// Directives are NAME=VALUE pairs for every dkms.conf.
	Directives []string
	// Env are --env NAME=VALUE, for every dkms.conf and build.
	Env []string
	// Sign is --sign.
	Sign SignMode
	// Symlink is --symlink-modules.
	Symlink bool
	// LockWait bounds the wait for another run that changes modules; 0 is no
	// limit, for a user who can interrupt the wait.
	LockWait time.Duration
}

// Patience is how long hooks and the boot service wait for another run: longer
// than the longest build takes on a usual machine.
const Patience = time.Hour

// Subject is a module version and a kernel.
type Subject struct {
	tree.ID
	tree.Target
}

// Machine is one system or image. None of its methods writes to it, except
// through [Machine.Lock].
type Machine struct {
	Host      system.Host
	Report    *report.Reporter
	Run       *system.Runner
	Tree      *tree.Tree
	Framework *conf.Framework
	// Distribution is the system's distribution family according to os-release.
	Distribution string
	Settings     Settings
	// StandsFor is the tree in whose place a scratch machine has its own, or nil.
	StandsFor *tree.Tree

	reader *conf.Reader

	mu      sync.Mutex
	kernels map[tree.Target]*kernel.Kernel
}

// New reads the framework's configuration and returns the machine h.
func New(ctx context.Context, h system.Host, run *system.Runner, r *report.Reporter, s Settings) (*Machine, error) {
	if h.Image {
		h.Machine = cmp.Or(kernel.Machine(h.Root), h.Machine)
	}
	distribution, err := conf.Distribution(h.Root)
	if err != nil {
		return nil, err
	}
	m := &Machine{Host: h, Report: r, Run: run, Distribution: distribution, Settings: s, kernels: map[tree.Target]*kernel.Kernel{}}
	m.reader = &conf.Reader{Host: h, Run: run, Directives: s.Directives, Distribution: distribution}
	if m.reader.Env, err = conf.ParseEnv(s.Env); err != nil {
		return nil, err
	}
	if m.Framework, err = m.reader.ReadFramework(ctx); err != nil {
		return nil, err
	}
	root := &m.Host.Root
	root.State = m.treeDir(s.State, m.Framework.DKMSTree)
	root.Source = m.treeDir(s.Source, m.Framework.SourceTree)
	root.Install = m.treeDir(s.Install, m.Framework.InstallTree)
	if s.Jobs != nil { // a dkms.conf may use the number of jobs
		m.Framework.ParallelJobs = strconv.Itoa(*s.Jobs)
	}
	m.reader.Host, m.reader.Framework = m.Host, m.Framework
	m.Tree = tree.Open(*root)
	return m, run.Share(append(shown, root.State, root.Source, root.Install)...)
}

// shown are the files that configurations and builds look at, besides the
// trees: they are those of the system, wherever the programs come from.
var shown = []string{
	"/etc/dkms", "/boot", "/etc/os-release", "/usr/lib/os-release", "/etc/lsb-release", "/etc/debian_version",
	"/etc/redhat-release", "/var/lib/dpkg", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/lib/pacman", "/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/lib/depmod.d",
}

// treeDir is the directory of a tree: that of the command line, relative to the
// caller's directory, or that of the configuration.
func (m *Machine) treeDir(given, configured string) string {
	if given != "" {
		return m.Host.Abs(given)
	}
	return configured
}

// Scratch is this machine with an empty dkms tree in dir: builds there change
// nothing else.
func (m *Machine) Scratch(dir string) *Machine {
	s := fresh(m)
	s.Host.Root.State = dir
	s.Tree, s.StandsFor = tree.Open(s.Host.Root), m.Tree
	reader := *m.reader
	reader.Host = s.Host
	s.reader = &reader
	return s
}

// WithHeaders is this machine with other headers than the options name, and the
// directory of everything that they refer to.
func (m *Machine) WithHeaders(headers, around string) *Machine {
	s := fresh(m)
	s.Settings.Headers, s.Settings.Around = headers, around
	return s
}

// fresh returns a copy of a machine that has read no kernel yet.
func fresh(m *Machine) *Machine {
	return &Machine{
		Host: m.Host, Report: m.Report, Run: m.Run, Tree: m.Tree, Framework: m.Framework, Distribution: m.Distribution,
		Settings: m.Settings, reader: m.reader, kernels: map[tree.Target]*kernel.Kernel{},
	}
}

// Kernel describes a target; what was read for a target is not read again.
func (m *Machine) Kernel(t tree.Target) *kernel.Kernel {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kernels[t] == nil {
		o := kernel.Options{Around: m.Settings.Around, Digest: m.Tree.HeadersNote(t)}
		if m.Settings.Headers != "" {
			o.Headers = m.Host.Abs(m.Settings.Headers)
		}
		if m.Settings.Config != "" {
			o.Config = m.Host.Abs(m.Settings.Config)
		}
		m.kernels[t] = kernel.New(m.Host.Root, t.Kernel, t.Arch, o)
	}
	return m.kernels[t]
}

// CheckHeaders returns what prevents builds for a kernel, if modules have to be
// built here.
func (m *Machine) CheckHeaders(t tree.Target) error {
	if m.Framework.PrebuiltSource != "" {
		return nil
	}
	return m.NeedHeaders(t)
}

// ConfFile is the dkms.conf of an added version.
func (m *Machine) ConfFile(s Subject) string { return m.Tree.Conf(s.ID) }

// Confs reads the configuration of every subject; file gives the path of each.
func (m *Machine) Confs(ctx context.Context, subjects []Subject, file func(Subject) string) []conf.Result {
	if len(subjects) == 0 {
		return nil
	}
	refs := make([]conf.Ref, len(subjects))
	for i, s := range subjects {
		refs[i] = conf.Ref{Name: s.Name, Version: s.Version, File: file(s), Target: build.ConfTarget(m.Kernel(s.Target), false)}
	}
	return m.reader.Modules(ctx, refs)
}

// Conf reads the configuration of one subject.
func (m *Machine) Conf(ctx context.Context, s Subject, file string) (*conf.Module, error) {
	res := m.Confs(ctx, []Subject{s}, func(Subject) string { return file })[0]
	return res.Conf, res.Err
}

// FreshWarnings are the warnings about a configuration that were not reported
// before.
func (m *Machine) FreshWarnings(c *conf.Module) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reader.Fresh(c)
}

// AuthorsReader reads configurations as their author wrote them, without the
// overrides of this machine. none is a directory that does not exist.
func (m *Machine) AuthorsReader(none string) *conf.Reader {
	reader := *m.reader
	reader.Host.Root.Dir = none
	return &reader
}

// PostTransaction is the command that framework.conf names for a kernel.
func (m *Machine) PostTransaction(ctx context.Context, kernel string) (string, error) {
	return m.reader.PostTransaction(ctx, kernel)
}

// Inputs returns what finds the inputs of builds.
func (m *Machine) Inputs(ctx context.Context) (build.Inputs, error) {
	environment, err := m.reader.BuildEnvironment(ctx)
	return build.Inputs{
		Host: m.Host, Tree: m.Tree, Run: m.Run, Framework: m.Framework, Environment: environment, Directives: m.Directives(),
	}, err
}

// Directives are the --directive NAME=VALUE pairs as a map.
func (m *Machine) Directives() map[string]string {
	return maps.Clone(system.EnvMap(m.Settings.Directives))
}

// Broken is the error of a version whose sources are lost.
func (m *Machine) Broken(id tree.ID) error {
	return exit.Errorf(exit.Broken, "%s is broken: %s does not lead to its sources", id, m.Tree.SourceLink(id)).
		WithHint("put the sources back to %s and run: dkms add %s\nor forget it: dkms remove %s --all", m.Tree.Sources(id), id, id)
}

// KernelConfig is the function by which a dkms.conf reads the configuration of
// a kernel; nil says that there is no configuration to read.
func (m *Machine) KernelConfig(t tree.Target) func(string) string {
	k := m.Kernel(t)
	if !k.Config().Found() {
		return nil
	}
	return k.Config().Get
}

// Excluded is the BUILD_EXCLUSIVE_* directive that excludes a version from a
// kernel, with its value and the reason; it is empty if none does.
func (m *Machine) Excluded(c *conf.Module, t tree.Target) string {
	excluded, why := c.Excluded(build.ConfTarget(m.Kernel(t), false), m.KernelConfig(t))
	if !excluded {
		return ""
	}
	return why
}

// CheckMeantFor returns an error if BUILD_EXCLUSIVE_* excludes a version from a
// kernel.
func (m *Machine) CheckMeantFor(s Subject, c *conf.Module) error {
	if why := m.Excluded(c, s.Target); why != "" {
		return exit.Errorf(exit.Excluded, "%s: not for kernel %s: %s", s.ID, s.Kernel, why)
	}
	return nil
}

// Records are the modules of a version that are meant for a kernel.
func (m *Machine) Records(c *conf.Module, t tree.Target) []conf.Record {
	return c.Active(build.ConfTarget(m.Kernel(t), false), m.KernelConfig(t))
}
