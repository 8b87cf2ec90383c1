package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/system"
)

// SourceDigest is a digest of what a build is made from and of nothing else:
// the sources, the administrator's files, patches and variables for the module
// in /etc/dkms, --directive and --env. Kernel, compiler, paths, owners and file
// modes do not change the digest, so that it tells whether two machines mean
// the same sources by one name and version.
func (b *Inputs) SourceDigest(j Job) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "source 1\n%s\n", j.ID)
	sources, err := filepath.EvalSymlinks(b.Tree.SourceLink(j.ID))
	if err != nil {
		return "", err
	}
	if err := digestTree(h, sources); err != nil {
		return "", err
	}
	if err := b.digestConf(h, j.Conf, sources); err != nil {
		return "", err
	}
	patches := b.Host.Root.Path("/etc/dkms/" + j.ID.Name)
	if system.IsDir(patches) {
		if err := digestTree(h, patches); err != nil {
			return "", err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Directives)) {
		fmt.Fprintf(h, "directive %q %q\n", name, b.Directives[name])
	}
	for _, name := range slices.Sorted(maps.Keys(j.Conf.Env)) {
		fmt.Fprintf(h, "env %q %q\n", name, j.Conf.Env[name])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// digestConf adds the configuration files that were read from outside the
// sources, under names that are the same on every machine.
func (b *Inputs) digestConf(h hash.Hash, c *conf.Module, sources string) error {
	for _, file := range c.Files {
		real, err := filepath.EvalSymlinks(file)
		if err != nil || strings.HasPrefix(real, sources+"/") {
			continue // the file is among the sources, or gone
		}
		if err := digestFile(h, "conf "+filepath.Base(file), file); err != nil {
			return err
		}
	}
	return nil
}

// digestTree adds the names, kinds and contents of everything below dir, and
// whether files are executable.
func digestTree(h hash.Hash, dir string) error {
	return walkFiles(dir, func(path, name string, d fs.DirEntry) error {
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintf(h, "link %q %q\n", name, target)
			return err
		case d.Type().IsRegular():
			return digestFile(h, name, path)
		}
		return nil
	})
}

// walkFiles calls visit for everything below dir but directories. name is the
// path below dir.
func walkFiles(dir string, visit func(path, name string, d fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return visit(path, name, d)
	})
}

func digestFile(h hash.Hash, name, path string) error {
	f, st, err := system.OpenRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(h, "file %q %t %d\n", name, st.Mode()&0o100 != 0, st.Size())
	_, err = io.Copy(h, f)
	return err
}
