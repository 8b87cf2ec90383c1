package build

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// makeVariables are the variables for the command line of make, as Kbuild
// expects them (Documentation/kbuild/kbuild.rst). ARCH, CROSS_COMPILE and CC
// choose the cross compiler. CC and HOSTCC start the compilers through the
// launcher of framework.conf, such as ccache or distcc; the launcher is not an
// input of the build, so that fingerprints do not include it.
func (w *work) makeVariables() (flags string, err error) {
	launcher := w.Framework.CompilerLauncher
	through := ""
	if len(launcher) > 0 {
		through = strings.Join(launcher, " ") + " "
	}
	if w.tools.Arch != "" {
		flags = " ARCH=" + w.tools.Arch
	}
	if w.tools.Prefix != "" {
		flags += " CROSS_COMPILE=" + w.tools.Prefix
	}
	if w.tools.Prefix != "" || through != "" {
		flags += " CC=" + escapeBlanks(through+cmp.Or(w.tools.CC, "gcc"))
	}
	switch {
	case flags == "":
		return "", nil
	case through == "":
		return " --" + flags, nil
	}
	if !w.Run.Has(launcher[0]) {
		return "", exit.Errorf(exit.BadConf, "%s: compiler_launcher=%s: no such program", w.Framework.Where("compiler_launcher"), launcher[0]).
			WithHint("install %s, or take the option out", launcher[0])
	}
	return " --" + flags + " HOSTCC=" + escapeBlanks(through+"gcc"), nil
}

// escapeBlanks makes s a single word of MAKEFLAGS, with make's own escapes.
func escapeBlanks(s string) string {
	return strings.NewReplacer(`\`, `\\`, " ", `\ `, "$", "$$").Replace(s)
}

// cacheDir is the directory of the compiler caches of builds, where the
// administrator has set none.
const cacheDir = "/var/cache/dkms/ccache"

// openCache prepares a compiler cache. Whoever can write to a cache can change
// what is compiled through it, so each module has its own cache. The cache
// belongs to root, and to the user of a confined build while the build runs.
func (w *work) openCache(ctx context.Context) error {
	launcher := w.Framework.CompilerLauncher
	if len(launcher) == 0 || filepath.Base(launcher[0]) != "ccache" {
		return nil
	}
	dir := filepath.Join(cmp.Or(w.Host.Env["CCACHE_DIR"], w.Host.Root.Path(cacheDir)), "dkms-"+w.ID.Name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	w.env["CCACHE_DIR"] = dir
	if w.scratch.private == "" {
		return nil
	}
	w.cache = &system.Mount{From: dir, At: dir, Lent: true}
	err := w.Run.Run(ctx, system.Cmd{Argv: []string{"true"}, Jail: &system.Jail{UID: w.scratch.user, Writable: []system.Mount{*w.cache}}})
	if _, refused := errors.AsType[*system.JailError](err); !refused {
		return err
	}
	w.cache.Lent = false // the owner of the files has to be changed instead
	return own(dir, w.scratch.user)
}
