// Package conf reads the configuration of the program and of the modules:
// framework.conf and dkms.conf.
//
// It guarantees that a file means the same as in DKMS, because bash itself
// evaluates everything that is more than literal text, twice, as DKMS does;
// that reading happens without privilege and within bounds of time and size;
// and that one bad file does not affect the evaluation of any other.
package conf

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dkms/pkg/system"
)

// Array is a sparse bash array.
type Array map[int]string

// At returns element i, or "" where there is none.
func (a Array) At(i int) string { return a[i] }

// Len returns the highest index plus one, or 0 for an array without elements.
func (a Array) Len() int {
	n := 0
	for i := range a {
		n = max(n, i+1)
	}
	return n
}

// Indexes returns the indexes that have an element, in order.
func (a Array) Indexes() []int { return slices.Sorted(maps.Keys(a)) }

// Reader reads configuration. Host and Run must be set.
type Reader struct {
	Host system.Host
	Run  *system.Runner
	// Framework is the part of framework.conf that configurations can see;
	// [Reader.ReadFramework] sets it.
	Framework *Framework
	// Directives are the NAME=VALUE arguments of --directive.
	Directives []string
	// Env are the variables of --env, see [ParseEnv]; they are exported to
	// configurations.
	Env map[string]string
	// Distribution is shown to configurations.
	Distribution   string
	Force, Verbose bool
	// Limit is how long one configuration may take; 0 means 30 seconds.
	Limit time.Duration

	told map[string]bool // the warnings that Fresh has returned
}

// Target is the kernel that a conf is evaluated for.
type Target struct {
	Release, Arch string
	// SourceDir is the directory of the headers.
	SourceDir string
	// ConfigFile is the kernel's configuration.
	ConfigFile string
	// Clang reports whether the kernel was built with clang.
	Clang bool
}

// Ref names one dkms.conf to read.
type Ref struct {
	// Name and Version are the module and version of the command line; both may
	// be empty.
	Name, Version string
	// File is the base dkms.conf.
	File   string
	Target Target
}

// Result is one configuration, or the error that prevented one. Err is an
// [*exit.Error]: NoConf when a file cannot be read; BadConf, with every problem
// on a line of its own, when the configuration is invalid.
type Result struct {
	Conf *Module
	Err  error
}

// Modules reads all refs, one per processor at a time. Result i belongs to ref
// i.
//
// The overrides that exist in /etc/dkms follow the base file, from the general
// to the special, and the directives come last. When a ref has no name, the
// overrides of PACKAGE_NAME and PACKAGE_VERSION are read; the original looks
// for files with an empty name in that case.
func (r *Reader) Modules(ctx context.Context, refs []Ref) []Result {
	sh := r.shell(moduleNames)
	results := make([]Result, len(refs))
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(refs)); i = next.Add(1) - 1 {
			results[i].Conf, results[i].Err = r.module(ctx, sh, refs[i])
		}
	}
	var others sync.WaitGroup
	for range min(r.Host.CPUs, len(refs)) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	return results
}

// Fresh returns the warnings of m that it has not returned before. One run
// reads the same dkms.conf in several places and for several kernels, so a
// warning counts as returned for all readings of one version. Only one
// goroutine may call Fresh.
func (r *Reader) Fresh(m *Module) []string {
	if r.told == nil {
		r.told = map[string]bool{}
	}
	var list []string
	for _, w := range m.Warnings {
		text := w
		for _, file := range m.Files {
			text = strings.ReplaceAll(text, filepath.Dir(file)+"/", "")
		}
		key := m.Name + "/" + m.Version + " " + text
		if !r.told[key] {
			list = append(list, w)
		}
		r.told[key] = true
	}
	return list
}

// shell returns an evaluator for the variables names.
func (r *Reader) shell(names []string) *shell {
	limit := r.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	root := r.Host.Root
	sh := &shell{run: r.Run, uid: r.Host.UID, names: names, limit: limit}
	sh.show = directories(root.Path("/"), root.StateTree(), root.SourceTree(), root.InstallTree())
	return sh
}

// directories returns those paths that are directories.
func directories(paths ...string) []string {
	return slices.DeleteFunc(paths, func(p string) bool { return p == "" || !system.IsDir(p) })
}

// module reads one dkms.conf. The environment of the evaluation depends on the
// BUILD_ENV of the administrator's files, which is known only after all files
// are read; where BUILD_ENV adds variables, module reads the files a second
// time.
func (r *Reader) module(ctx context.Context, sh *shell, ref Ref) (*Module, error) {
	b, err := r.builder(ctx, sh, ref, r.Env)
	if err != nil {
		return nil, err
	}
	env := b.env(r.Env)
	if !maps.Equal(env, r.Env) {
		if b, err = r.builder(ctx, sh, ref, env); err != nil {
			return nil, err
		}
		env = b.env(r.Env)
	}
	b.m.Env = env
	return b.module()
}

// builder evaluates the files of one dkms.conf. It finds the override files
// during the evaluation, because the base file may have to give the module's
// name first.
func (r *Reader) builder(ctx context.Context, sh *shell, ref Ref, env map[string]string) (*builder, error) {
	base := source{path: r.Host.Abs(ref.File)}
	var err error
	if base.text, err = readTextBy(system.ReadOwn, base.path); err != nil {
		return nil, err
	}
	c := chain{etc: r.Host.Root.Path("/etc/dkms"), ref: ref, todo: []source{base}}
	in := setting{r.moduleVars(ref), env, directories(filepath.Dir(base.path), ref.Target.SourceDir)}
	ev, err := sh.read(ctx, in, c.next)
	if err := cmp.Or(c.err, err); err != nil {
		return nil, err
	}
	m := &Module{File: base.path, Files: c.files, Deprecated: c.deprecated, Warnings: c.unheeded}
	b := &builder{file: base.path, tree: r.Host.Root.StateTree(), values: ev.values, own: c.own, notes: ev.notes, m: m}
	b.direct(r.Directives)
	return b, nil
}
