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

// launcher has make start the compilers through the launcher of
// framework.conf, such as ccache or distcc, by CC= and HOSTCC= as Kbuild wants
// them (Documentation/kbuild/kbuild.rst). It is how a build is made and not
// what of: fingerprints know nothing of it.
func (w *work) launcher() (flags string, err error) {
	launcher := w.Framework.CompilerLauncher
	if len(launcher) == 0 {
		return "", nil
	}
	if !w.Run.Has(launcher[0]) {
		return "", exit.Errorf(exit.BadConf, "%s: compiler_launcher=%s: no such program", w.Framework.Where("compiler_launcher"), launcher[0]).
			WithHint("install %s, or take the option out", launcher[0])
	}
	through := strings.Join(launcher, " ") + " "
	return " -- CC=" + escapeBlanks(through+cmp.Or(w.tools.CC, "gcc")) + " HOSTCC=" + escapeBlanks(through+"gcc"), nil
}

// escapeBlanks makes one word of s for MAKEFLAGS, as make itself does.
func escapeBlanks(s string) string {
	return strings.NewReplacer(`\`, `\\`, " ", `\ `, "$", "$$").Replace(s)
}

// cacheDir is the directory of compiler caches for builds, where the admin has
// given none.
const cacheDir = "/var/cache/dkms/ccache"

// openCache makes room for a compiler cache. Each module has one of its own:
// whoever can write to a cache can change what is compiled through it. The
// cache is root's, and belongs to the user of a confined build as long as the
// build runs.
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
	w.env["CCACHE_DIR"] = dir
	if w.scratch.private == "" {
		return nil
	}
	w.cache = &system.Mount{From: dir, At: dir, Lent: true}
	err := w.Run.Run(ctx, system.Cmd{Argv: []string{"true"}, Jail: &system.Jail{UID: w.scratch.user, Writable: []system.Mount{*w.cache}}})
	if _, refused := errors.AsType[*system.JailError](err); !refused {
		return err
	}
	w.cache.Lent = false // the files have to change hands then
	return own(dir, w.scratch.user)
}
