package build

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
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

// cacheDir is the directory of the compiler cache for builds, where they have
// the cache's own default not at hand. All users may write to it, but only
// root and builds get there.
const cacheDir = "/var/cache/dkms/ccache"

// openCache makes room for a compiler cache that the admin has given no place.
// A confined build is let write to it.
func (w *work) openCache() error {
	launcher := w.Framework.CompilerLauncher
	if len(launcher) == 0 || filepath.Base(launcher[0]) != "ccache" {
		return nil
	}
	w.cache = w.Host.Env["CCACHE_DIR"]
	if w.cache != "" {
		return nil
	}
	w.cache = w.Host.Root.Path(cacheDir)
	if err := os.MkdirAll(filepath.Dir(w.cache), 0o700); err != nil {
		return err
	}
	// Whoever could write to the cache could write modules.
	if err := os.Chmod(filepath.Dir(w.cache), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(w.cache, 0o777); err == nil {
		if err := os.Chmod(w.cache, 0o777); err != nil {
			return err
		}
	}
	w.env["CCACHE_DIR"], w.env["CCACHE_UMASK"] = w.cache, "000"
	return nil
}
