package machine

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dkms/pkg/boot"
	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/install"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Facts is the state of the machine: its packages, the health of their builds,
// and the requested configurations. Each fact is read on first use, and does
// not change afterwards. Several goroutines may use Facts.
type Facts struct {
	m     *Machine
	names []string
	etc   []string // the names in /etc/dkms
	now   time.Time
	boot  func() boot.Machine
	// extended are the modules of extensions of the system.
	extended func() []string
	// essential are the packages that drive what this machine cannot be without,
	// with the reason.
	essential func() map[string]string

	packages map[string]*Package
	kernels  keyed[tree.Target, *kernelFacts]
	keys     keyed[tree.Target, usedKey]
	scans    keyed[string, install.Copies]
	sources  keyed[string, *sourceFacts]
	images   keyed[tree.Target, []*Image]
	mentions keyed[tree.ID, string]
	lacking  keyed[string, []GuardedModule]

	mu    sync.Mutex
	confs map[Subject]conf.Result
}

// Package holds the versions of one module package.
type Package struct {
	Name string
	f    *Facts
	read sync.Once
	// versions have no builds.
	versions []tree.Version
	unread   error
	modules  keyed[Subject, *Module]
}

// Module is the state of one version of a package for one kernel.
type Module struct {
	Subject
	// State is the state of the version, which does not depend on the kernel.
	State tree.State
	// Built says that the tree has a build, and Active that the version is
	// installed, or that an extension of the system has it.
	Built, Active bool
	// Manifest is nil for builds of the original, and if the manifest cannot be
	// read; ManifestErr then says why.
	Manifest    *tree.Manifest
	ManifestErr error

	f                *Facts
	look             func() install.Look
	build, installed func() Health
}

// kernelFacts are the facts about a kernel.
type kernelFacts struct {
	kernel *kernel.Kernel
	stamp  tree.Stamp // [tree.Stamp.Missing] if there are no headers
	inputs func() string
	index  install.Index
}

// Facts reads the names of all packages; everything else is read on first use.
func (m *Machine) Facts() (*Facts, error) {
	f := &Facts{m: m, now: m.Host.Now(), packages: map[string]*Package{}, confs: map[Subject]conf.Result{}, etc: []string{}}
	f.boot = sync.OnceValue(func() boot.Machine { return boot.Look(m.Host) })
	f.extended = sync.OnceValue(func() []string { return readExtended(m) })
	f.essential = sync.OnceValue(func() map[string]string { return readEssential(f) })
	var err error
	if f.names, err = m.Tree.Names(); err != nil {
		return nil, err
	}
	entries, err := system.ReadDir(m.Host.Root.Path("/etc/dkms"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, e := range entries {
		f.etc = append(f.etc, e.Name)
	}
	for _, name := range f.names {
		f.packages[name] = &Package{Name: name, f: f}
	}
	return f, nil
}

// Boot lists the kernels of the machine, and says which of them boots next.
func (f *Facts) Boot() boot.Machine { return f.boot() }

// Packages lists all packages in byte order.
func (f *Facts) Packages() []*Package {
	list := make([]*Package, len(f.names))
	for i, name := range f.names {
		list[i] = f.packages[name]
	}
	return list
}

// Versions lists the versions of a package in byte order, without their builds.
func (p *Package) Versions() []tree.Version {
	p.read.Do(func() { p.versions, p.unread = p.f.m.Tree.Known(p.Name) })
	return p.versions
}

// state is the state of a version in the list of versions.
func (p *Package) state(id tree.ID) tree.State {
	for _, v := range p.Versions() {
		if v.ID == id {
			return v.State
		}
	}
	return tree.Absent
}

// Readable returns the errors of an unreadable tree, which must not count as an
// empty one.
func (f *Facts) Readable() error {
	var errs []error
	for _, p := range f.Packages() {
		p.Versions()
		errs = append(errs, p.unread)
	}
	return errors.Join(errs...)
}

// Usable lists the versions whose sources exist, newest first.
func (p *Package) Usable() []tree.ID {
	var list []tree.ID
	for _, v := range p.Versions() {
		if v.State == tree.Added {
			list = append(list, v.ID)
		}
	}
	slices.SortStableFunc(list, func(a, b tree.ID) int { return version.Compare(b.Version, a.Version) })
	return list
}

// Newest is the newest usable version, if there is one.
func (p *Package) Newest() (tree.ID, bool) {
	list := p.Usable()
	if len(list) == 0 {
		return tree.ID{}, false
	}
	return list[0], true
}

// Newest is the newest usable version of a package by its name.
func (f *Facts) Newest(name string) (tree.ID, bool) {
	if p := f.packages[name]; p != nil {
		return p.Newest()
	}
	return tree.ID{}, false
}

// Broken lists the versions whose sources are lost.
func (p *Package) Broken() []tree.ID {
	var list []tree.ID
	for _, v := range p.Versions() {
		if v.State == tree.Broken {
			list = append(list, v.ID)
		}
	}
	return list
}

// Broken lists the versions of all packages whose sources are lost.
func (f *Facts) Broken() []tree.ID {
	var list []tree.ID
	for _, p := range f.Packages() {
		list = append(list, p.Broken()...)
	}
	return list
}

// Registered lists all versions in the tree, without their builds.
func (f *Facts) Registered() []tree.Version {
	var list []tree.Version
	for _, p := range f.Packages() {
		for _, v := range p.Versions() {
			if v.State != tree.Absent {
				list = append(list, v)
			}
		}
	}
	return list
}

// Module is the state of a version for a kernel.
func (f *Facts) Module(s Subject) *Module {
	p := f.packages[s.Name]
	if p == nil { // the package was not in the tree when the tree was read
		p = &Package{Name: s.Name, f: f}
	}
	return p.modules.get(s, func() *Module { return f.readModule(s, p.state(s.ID)) })
}

func (f *Facts) readModule(s Subject, state tree.State) *Module {
	t := f.m.Tree
	mod := &Module{Subject: s, f: f, State: state, Built: t.IsBuilt(s.ID, s.Target)}
	mod.Active = mod.Built && t.Active(s.Name, s.Target) == s.Version
	mod.build = sync.OnceValue(mod.readBuild)
	mod.installed = sync.OnceValue(mod.readInstalled)
	mod.look = sync.OnceValue(func() install.Look { return install.LookAt(t, mod.Manifest) })
	if mod.Built {
		mod.Manifest, mod.ManifestErr = t.Manifest(s.ID, s.Target)
		mod.Active = mod.Active || mod.inExtension()
	}
	return mod
}

// Build is the health of the build in the dkms tree, whether or not the build
// is installed: Ready if it may be installed, Missing if there is none.
func (mod *Module) Build() Health { return mod.build() }

// Installed is the health of the installed files: Ready, Missing if nothing is
// installed, or another state if they have a fault. Ready has a reason if a
// look could not be taken. [Facts.Signature] checks their signatures.
func (mod *Module) Installed() Health { return mod.installed() }

func (f *Facts) kernel(t tree.Target) *kernelFacts {
	return f.kernels.get(t, func() *kernelFacts {
		k := &kernelFacts{kernel: f.m.Kernel(t)}
		if k.kernel.HasHeaders() {
			k.stamp = build.HeadersStamp(k.kernel)
		}
		k.inputs = sync.OnceValue(func() string { return build.KernelInputs(k.kernel, f.m.Run) })
		k.index = install.LookAtIndex(filepath.Join(k.kernel.ModuleDir(), "modules.dep"))
		return k
	})
}

// Index says what keeps modprobe from finding the installed modules of a
// kernel, or is empty.
func (f *Facts) Index(t tree.Target) string {
	var files []install.Dated
	for _, v := range f.Registered() {
		if mod := f.Module(Subject{v.ID, t}); mod.Active && mod.Manifest != nil {
			files = append(files, mod.look().Files...)
		}
	}
	return f.kernel(t).index.Outdated(files, f.now)
}

// Confs returns the configurations of subjects. It reads, in one go, those that
// were not read before.
func (f *Facts) Confs(ctx context.Context, subjects []Subject) map[Subject]conf.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	var missing []Subject
	for _, s := range subjects {
		if _, ok := f.confs[s]; !ok && !slices.Contains(missing, s) {
			missing = append(missing, s)
		}
	}
	for i, res := range f.m.Confs(ctx, missing, f.m.ConfFile) {
		f.confs[missing[i]] = res
	}
	list := make(map[Subject]conf.Result, len(subjects))
	for _, s := range subjects {
		list[s] = f.confs[s]
	}
	return list
}

// KnownConfs are the configurations that have been read so far.
func (f *Facts) KnownConfs() map[Subject]conf.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.confs)
}

// Idle tells whether the newest version of every package is installed and Ready
// for every target, and no interrupted run has left anything to do. Every boot
// waits for the answer, so the packages are divided among the processors, and
// no program is started.
func (f *Facts) Idle(targets []tree.Target) bool {
	if install.Unfinished(f.m.Tree) || f.m.Tree.Busy() || len(f.m.Tree.Pending()) > 0 {
		return false
	}
	return f.idle(targets)
}

// idle divides the packages among the processors.
func (f *Facts) idle(targets []tree.Target) bool {
	packages := f.Packages()
	for _, t := range targets {
		f.kernel(t)
	}
	var next atomic.Int64
	var busy atomic.Bool
	look := func() {
		for i := next.Add(1) - 1; i < int64(len(packages)) && !busy.Load(); i = next.Add(1) - 1 {
			if !packages[i].idle(targets) {
				busy.Store(true)
			}
		}
	}
	var others sync.WaitGroup
	for range min(f.m.Host.CPUs, len(packages)*len(targets)/sharing) - 1 {
		others.Go(look)
	}
	look()
	others.Wait()
	return !busy.Load()
}

// sharing is how many installed modules justify another thread.
const sharing = 8

// idle tells whether a package needs nothing to be done.
func (p *Package) idle(targets []tree.Target) bool {
	if len(p.Broken()) > 0 || p.unread != nil {
		return false
	}
	id, any := p.Newest()
	if !any {
		return true
	}
	for _, t := range targets {
		mod := p.f.Module(Subject{id, t})
		if !mod.Active && p.f.Held(mod.Subject) != nil { // what was there before it is to be there
			active := p.f.m.Tree.Active(p.Name, t)
			if active == "" {
				continue
			}
			mod = p.f.Module(Subject{tree.ID{Name: p.Name, Version: active}, t})
		}
		if mod.waitsForKey() && p.f.key(context.Background(), t).trusted {
			return false
		}
		if !mod.Installed().OK() || mod.Manifest != nil && p.f.kernel(t).index.Outdated(mod.look().Files, p.f.now) != "" {
			return false
		}
	}
	return true
}

// keyed holds values that are computed once per key.
type keyed[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]func() V
}

func (k *keyed[K, V]) get(key K, find func() V) V {
	k.mu.Lock()
	if k.values == nil {
		k.values = map[K]func() V{}
	}
	once, ok := k.values[key]
	if !ok {
		once = sync.OnceValue(find)
		k.values[key] = once
	}
	k.mu.Unlock()
	return once()
}
