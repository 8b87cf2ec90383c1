// Package conf reads the configuration of the program and of the modules:
// framework.conf and dkms.conf.
//
// It guarantees that a file means what it means to DKMS, because bash itself
// evaluates whatever is more than literal text, twice as DKMS does; that
// reading happens without privilege and within bounds of time and size; and
// that one bad file spoils no other.
package conf

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"dkms/pkg/system"
)

// Array is a sparse bash array.
type Array map[int]string

// At is the element i, or empty where there is none.
func (a Array) At(i int) string { return a[i] }

// Len is the highest index and one, 0 for an array without elements.
func (a Array) Len() int {
	n := 0
	for i := range a {
		n = max(n, i+1)
	}
	return n
}

// Indexes are the indexes that have an element, in order.
func (a Array) Indexes() []int { return slices.Sorted(maps.Keys(a)) }

// Reader reads configuration. Host and Run must be set.
type Reader struct {
	Host system.Host
	Run  *system.Runner
	// Framework is what configurations see of framework.conf; it is set
	// after [Reader.ReadFramework].
	Framework *Framework
	// Directives are the NAME=VALUE of --directive.
	Directives []string
	// Distribution is shown to configurations.
	Distribution   string
	Force, Verbose bool
	// Limit is how long one configuration may take; 0 is 30 seconds.
	Limit time.Duration
}

// Target is the kernel that a conf is evaluated for.
type Target struct {
	Release, Arch string
	// SourceDir holds the headers.
	SourceDir string
	// ConfigFile is the kernel's configuration.
	ConfigFile string
	// Clang says that the kernel was built with clang.
	Clang bool
}

// Ref names one dkms.conf to read.
type Ref struct {
	// Name and Version are module and version of the command line; they
	// may be empty.
	Name, Version string
	// File is the base dkms.conf.
	File   string
	Target Target
}

// Result is one conf or why there is none. Err is an [*exit.Error]: NoConf
// when a file cannot be read, BadConf with every problem on a line of its own
// when the conf is invalid.
type Result struct {
	Conf *Module
	Err  error
}

// Modules reads all refs with one bash process. Results are by index.
//
// The base file is followed by the overrides in /etc/dkms that exist, from
// the general to the special, and by the directives. Without a name in the
// ref the overrides are those of PACKAGE_NAME and PACKAGE_VERSION, where the
// original looks for files with an empty name.
func (r *Reader) Modules(ctx context.Context, refs []Ref) []Result {
	var dirs []string
	for _, ref := range refs {
		dirs = append(dirs, filepath.Dir(r.Host.Abs(ref.File)), ref.Target.SourceDir)
	}
	sh := r.shell(moduleNames, dirs...)
	defer sh.close()
	results := make([]Result, len(refs))
	for i, ref := range refs {
		m, err := r.module(ctx, sh, ref)
		results[i] = Result{m, err}
		if err != nil {
			results[i].Conf = nil
		}
	}
	return results
}

// shell is a bash that is to read names, from files that may look at dirs, too.
func (r *Reader) shell(names []string, dirs ...string) *shell {
	limit := r.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	root := r.Host.Root
	sh := &shell{run: r.Run, uid: r.Host.UID, names: names, limit: limit}
	for _, dir := range append(dirs, root.Path("/"), root.StateTree(), root.SourceTree(), root.InstallTree()) {
		if dir != "" && system.IsDir(dir) {
			sh.show = append(sh.show, dir)
		}
	}
	return sh
}

// module reads one conf. The files of the chain are looked up while it is
// evaluated, since the base file may have to say what the module is called.
func (r *Reader) module(ctx context.Context, sh *shell, ref Ref) (*Module, error) {
	base := source{path: r.Host.Abs(ref.File)}
	var err error
	if base.text, err = readText(base.path); err != nil {
		return nil, err
	}
	c := chain{etc: r.Host.Root.Path("/etc/dkms"), ref: ref, todo: []source{base}}
	ev, err := sh.evaluate(ctx, r.moduleVars(ref), c.next)
	if c.err != nil {
		return nil, c.err
	}
	if err != nil {
		return nil, err
	}
	b := builder{file: base.path, tree: r.Host.Root.StateTree(), values: ev.values, sandbox: c.sandbox, m: &Module{File: base.path, Files: c.files, Deprecated: c.deprecated}}
	b.direct(r.Directives)
	return b.module(ev.notes)
}
