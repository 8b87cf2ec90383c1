package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"dkms/pkg/kernel"
	"dkms/pkg/system"
)

// Confinement is how builds are kept from everything that is none of their
// business. They may write to their own directory and to a /tmp of their own.
type Confinement struct {
	// Allow are more directories that builds may write to.
	Allow []string
	// Network leaves them the network.
	Network bool
}

// Probe tells why builds cannot be confined on this machine, or returns nil.
func Probe(ctx context.Context, run *system.Runner) error {
	err := run.Run(ctx, system.Cmd{Argv: []string{"true"}, Jail: &system.Jail{UID: system.Stranger(0)}})
	if refused, ok := errors.AsType[*system.JailError](err); ok {
		return refused
	}
	return err
}

// jail is where the commands of the package run; nil is without one. They may
// write to more directories where that is said.
func (w *work) jail(more ...string) *system.Jail {
	if w.scratch.private == "" {
		return nil
	}
	j := &system.Jail{
		UID: w.scratch.user, Tmp: w.scratch.tmp(), Network: w.Confine.Network,
		Writable: []system.Mount{{From: w.scratch.real, At: w.scratch.dir}},
	}
	for _, dir := range slices.Concat(more, w.Confine.Allow, []string{w.cache}) {
		if dir != "" {
			j.Writable = append(j.Writable, system.Mount{From: dir, At: dir})
		}
	}
	for _, dir := range []string{
		w.Tree.Dir(), w.Host.Root.Path("/etc/dkms"), w.Kernel.Headers, filepath.Join(w.Kernel.ModuleDir(), "source"), w.Kernel.ModuleDir(),
	} {
		if system.IsDir(dir) {
			j.Show = append(j.Show, dir)
		}
	}
	if j.UID == 0 {
		j.Hide = []string{filepath.Join(w.Tree.Dir(), "mok.key"), "/var/lib/shim-signed/mok/MOK.priv"}
	}
	return j
}

// buildUser is the user that a confined build runs as: one of the pool's, or
// root without its powers where the headers are for root's eyes only.
func buildUser(k *kernel.Kernel, user int) int {
	for _, name := range []string{"", "Makefile", ".config", "include", "include/generated", "include/generated/autoconf.h", "scripts", "scripts/mod/modpost", "Module.symvers"} {
		st, err := os.Stat(filepath.Join(k.Headers, name))
		switch {
		case err != nil:
		case st.IsDir() && st.Mode()&0o005 != 0o005, st.Mode()&0o004 == 0:
			return 0
		}
	}
	return user
}

// outside is where a file that the commands know as path is to be found, with
// all links followed. What a build leaves may be a link to anywhere: a file
// outside of its directory is not its work.
func (w *work) outside(path string) (string, error) {
	real, err := filepath.EvalSymlinks(w.scratch.real)
	if err != nil {
		return "", err
	}
	for range 40 { // as the kernel does, see path_resolution(7)
		rel, err := filepath.Rel(w.scratch.dir, path)
		if err != nil || !filepath.IsLocal(rel) {
			return "", &escapeError{path}
		}
		file := filepath.Join(w.scratch.real, rel)
		if target, err := os.Readlink(file); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(path), target)
			}
			path = target
			continue
		}
		if file, err = filepath.EvalSymlinks(file); err != nil {
			return "", err
		}
		if rel, err := filepath.Rel(real, file); err != nil || !filepath.IsLocal(rel) {
			return "", &escapeError{path}
		}
		return file, nil
	}
	return "", &escapeError{path}
}

type escapeError struct{ path string }

func (e *escapeError) Error() string { return e.path + " lies outside the build directory" }
