package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
)

// Confinement describes the sandbox of builds. A confined build may write to
// its own directory, and to its own /tmp, /var/tmp, /dev/shm and /run/lock.
type Confinement struct {
	// Allow lists further directories that builds may write to.
	Allow []string
	// Network gives builds access to the network, and Sockets access to Unix
	// sockets, including those of other programs.
	Network, Sockets bool
	// Hide lists files that builds do not see, whatever the permissions of the
	// files.
	Hide []string
	// Limits are the resource limits of the package's commands.
	Limits system.Limits
	// Disk is how many MiB a build may use on its file system; 0 is no limit.
	Disk int
}

// Probe tells why builds cannot be confined on this machine, or returns nil.
func Probe(ctx context.Context, run *system.Runner) error {
	err := run.Run(ctx, system.Cmd{Argv: []string{"true"}, Jail: &system.Jail{UID: system.BuildUser(0)}})
	if refused, ok := errors.AsType[*system.JailError](err); ok {
		return refused
	}
	return err
}

// jail is the sandbox of the package's commands, or nil without one. more are
// further directories that the commands may write to.
func (w *work) jail(more ...string) *system.Jail {
	if w.scratch.private == "" {
		return nil
	}
	j := &system.Jail{
		UID: w.scratch.user, Network: w.Confine.Network, Sockets: w.Confine.Sockets, Limits: w.Confine.Limits,
		Writable: append(w.scratch.common(), system.Mount{From: w.scratch.real, At: w.scratch.dir}),
		Hide:     w.secrets(),
		Added:    w.placed,
	}
	for _, dir := range slices.Concat(more, w.Confine.Allow) {
		j.Writable = append(j.Writable, system.Mount{From: dir, At: w.seen(dir)})
	}
	if w.cache != nil {
		j.Writable = append(j.Writable, *w.cache)
	}
	for _, dir := range []string{w.Tree.Dir(), w.Host.Root.Path("/etc/dkms")} {
		if system.IsDir(dir) {
			j.Show = append(j.Show, dir)
		}
	}
	for _, dir := range []string{w.Kernel.Around, w.Kernel.Headers, filepath.Join(w.Kernel.ModuleDir(), "source"), w.Kernel.ModuleDir()} {
		switch {
		case dir == "" || !system.IsDir(dir):
		case w.lend:
			j.Lend = append(j.Lend, dir)
		default:
			j.Show = append(j.Show, dir)
		}
	}
	return j
}

// closed tells whether only root can read the headers.
func closed(k *kernel.Kernel) bool {
	for _, name := range []string{"", "Makefile", ".config", "include", "include/generated", "include/generated/autoconf.h", "scripts", "scripts/mod/modpost", "Module.symvers"} {
		st, err := os.Stat(filepath.Join(k.Headers, name))
		switch {
		case err != nil:
		case st.IsDir() && st.Mode()&0o005 != 0o005, st.Mode()&0o004 == 0:
			return true
		}
	}
	return false
}

// checkLending tells whether headers that only root can read can be shown to a
// build user on this machine. A build as root could read them, but is not
// isolated.
func (w *work) checkLending(ctx context.Context) error {
	jail := &system.Jail{UID: w.ticket.user, Lend: []string{w.Kernel.Headers}}
	err := w.Run.Run(ctx, system.Cmd{Argv: []string{"true"}, Jail: jail})
	refused, ok := errors.AsType[*system.JailError](err)
	if !ok {
		return err
	}
	dir := w.Kernel.Headers
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return exit.Errorf(exit.NoHeaders, "%s: kernel %s: only root may read %s, and an isolated build is not root: %w", w.ID, w.Kernel.Release, dir, refused).
		WithHint("chmod -R a+rX %s lets builds read them; BUILD_SANDBOX=no in /etc/dkms/%s.conf builds this module as root", dir, w.ID.Name)
}

// secrets lists the files that a build does not see, whatever their
// permissions: the key pair in use, the default key pairs, and the files that
// framework.conf names.
func (w *work) secrets() []string {
	list := []string{
		filepath.Join(w.Tree.Dir(), "mok.key"), w.Host.Root.Path("/var/lib/shim-signed/mok/MOK.priv"),
		filepath.Join(w.Kernel.Headers, "certs/signing_key.pem"), // kernels that sign their own modules have the key here
		w.Environment,
	}
	if w.Signer != nil {
		list = append(list, w.Signer.Pair().KeyPath, w.Signer.Pair().CertPath)
	}
	return append(list, w.Confine.Hide...)
}

// outside resolves a path of the build's commands to the path outside the
// sandbox, and follows all links. A build may leave a link to anywhere: a file
// outside the build's directory is not a result of the build.
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
