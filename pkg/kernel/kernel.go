// Package kernel describes a kernel release without running it: its headers,
// configuration, compiler and module files.
//
// It guarantees that no fact about a target kernel comes from the running
// kernel, and that a missing header tree is told apart from a dangling link to
// one.
package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"dkms/pkg/exit"
	"dkms/pkg/module"
	"dkms/pkg/system"
)

// Kernel is one kernel release on one architecture.
type Kernel struct {
	Release, Arch string
	// Headers is the directory that modules are built against.
	Headers string
	// Around is the directory of everything that Headers refer to, or "".
	Around string
	// ConfigFile is the configuration file that was found, or the place where
	// it would be.
	ConfigFile string

	root   system.Root
	config func() *Config
	suffix func() module.Compression
	digest func() digested
	note   string
}

// Options name files to use instead of those at the usual places.
type Options struct {
	// Headers is the directory to build against (--kernelsourcedir).
	Headers string
	// Around is the directory of everything that Headers refer to, where it is
	// not one of the system's.
	Around string
	// Config is the configuration file (--config).
	Config string
	// Digest is the file that keeps the digest of the headers, or "".
	Digest string
}

// New returns a description of a kernel. Every fact is read at its first use,
// and only once.
func New(root system.Root, release, arch string, o Options) *Kernel {
	k := &Kernel{Release: release, Arch: arch, root: root, Headers: o.Headers, Around: o.Around, note: o.Digest}
	if k.Headers == "" {
		k.Headers = filepath.Join(k.ModuleDir(), "build")
	}
	k.ConfigFile = o.Config
	if k.ConfigFile == "" {
		k.ConfigFile = findConfig(root, k.Headers, release)
	}
	k.config = sync.OnceValue(func() *Config { return readConfig(k.ConfigFile) })
	k.suffix = sync.OnceValue(k.findSuffix)
	k.digest = sync.OnceValue(k.digestHeaders)
	return k
}

// findConfig prefers the file that Kbuild itself reads. Newer header packages
// ship no .config; most distributions have a copy in /boot.
func findConfig(root system.Root, headers, release string) string {
	dotConfig := filepath.Join(headers, ".config")
	for _, file := range []string{
		filepath.Join(headers, "include/config/auto.conf"),
		dotConfig,
		root.Path("/boot/config-" + release),
	} {
		if system.IsFile(file) {
			return file
		}
	}
	return dotConfig
}

// ModuleDir returns the directory of the kernel in the install tree.
func (k *Kernel) ModuleDir() string { return filepath.Join(k.root.InstallTree(), k.Release) }

// Config returns the configuration of the kernel; it is empty but not nil when
// no file was found.
func (k *Kernel) Config() *Config { return k.config() }

// Parts returns the directories that the headers consist of: Headers, and the
// directories that links in it lead to, as far as they exist.
func (k *Kernel) Parts() []string {
	var list []string
	entries, _ := os.ReadDir(k.Headers)
	paths := []string{k.Headers, k.Around}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 {
			paths = append(paths, filepath.Join(k.Headers, e.Name()))
		}
	}
	for _, path := range paths {
		if real, err := filepath.EvalSymlinks(path); path != "" && err == nil && system.IsDir(real) {
			list = append(list, real)
		}
	}
	return list
}

// HasHeaders reports whether modules can be built for the kernel.
func (k *Kernel) HasHeaders() bool { return system.IsDir(filepath.Join(k.Headers, "include")) }

// CheckHeaders returns an error that explains why modules cannot be built for
// the kernel, or nil. distribution serves to name the package to install.
func (k *Kernel) CheckHeaders(distribution string) error {
	if err := k.Config().Err(); err != nil { // answers from this file would be guesses
		return exit.Errorf(exit.NoHeaders, "configuration of kernel %s: %w", k.Release, err)
	}
	if k.HasHeaders() {
		return nil
	}
	var err *exit.Error
	switch st, statErr := os.Lstat(k.Headers); {
	case errors.Is(statErr, fs.ErrNotExist):
		err = exit.Errorf(exit.NoHeaders, "no headers for kernel %s: %s does not exist", k.Release, k.Headers)
	case statErr != nil:
		err = exit.Errorf(exit.NoHeaders, "no headers for kernel %s: %w", k.Release, statErr)
	case st.Mode()&fs.ModeSymlink != 0 && !system.IsDir(k.Headers):
		target, _ := os.Readlink(k.Headers)
		err = exit.Errorf(exit.NoHeaders, "no headers for kernel %s: %s points to %s, which does not exist", k.Release, k.Headers, target)
	default:
		err = exit.Errorf(exit.NoHeaders, "no headers for kernel %s: %s has no include directory", k.Release, k.Headers)
	}
	return err.WithHint("%s", k.headersHint(distribution))
}

// Suffix returns the compression of the kernel's module files. The files in its
// module directory decide; if there are none, the configuration does.
func (k *Kernel) Suffix() module.Compression { return k.suffix() }

func (k *Kernel) findSuffix() module.Compression {
	if found := k.indexed(); len(found) > 0 {
		return most(found)
	}
	found := map[module.Compression]int{}
	for _, dir := range []string{filepath.Join(k.ModuleDir(), "kernel"), k.ModuleDir()} {
		for _, path := range module.Files(dir) {
			_, c, _ := module.ParseSuffix(path)
			found[c]++
		}
		if len(found) > 0 {
			return most(found)
		}
	}
	return k.Config().Compression()
}

// indexed counts the compressions of the kernel's own modules as the module index
// lists them, which takes a hundredth of the time of a walk through thousands of
// files. It returns nil for an index that names files which are not there.
func (k *Kernel) indexed() map[module.Compression]int {
	list, err := system.ReadRegular(filepath.Join(k.ModuleDir(), "modules.dep"), maxIndex)
	if err != nil {
		return nil
	}
	found := map[module.Compression]int{}
	for line := range strings.Lines(string(list)) {
		path, _, ok := strings.Cut(line, ":")
		if !ok || !strings.HasPrefix(path, "kernel/") {
			continue
		}
		_, c, ok := module.ParseSuffix(path)
		if ok && found[c] == 0 && !system.IsFile(filepath.Join(k.ModuleDir(), path)) {
			return nil
		}
		if ok {
			found[c]++
		}
	}
	return found
}

// most returns the most frequent compression, and on a tie the newer format.
func most(found map[module.Compression]int) module.Compression {
	best := module.None
	for _, c := range []module.Compression{module.Gzip, module.XZ, module.Zstd} {
		if found[c] > 0 && found[c] >= found[best] {
			best = c
		}
	}
	return best
}

// SystemMap returns the symbol map that depmod checks against, or "".
func (k *Kernel) SystemMap() string {
	if file := k.root.Path("/boot/System.map-" + k.Release); system.IsFile(file) {
		return file
	}
	return ""
}

// DepmodBase returns the directory for depmod -b, empty for the host's own
// tree. ok is false where depmod cannot work on the install tree.
func (k *Kernel) DepmodBase() (dir string, ok bool) {
	tree := filepath.Clean(k.root.InstallTree())
	if tree == "/lib/modules" || tree == "/usr/lib/modules" {
		return "", true
	}
	return strings.CutSuffix(tree, "/lib/modules")
}
