package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Fingerprint is a digest of everything that decides how a build ends: the
// contents of the sources, of the configuration files and patches in
// /etc/dkms, of the file that build_environment names, the kernel's headers
// and compiler, and the versions of what the module builds on. Two builds with
// the same fingerprint have the same outcome, as far as this program can tell.
func (b *Builder) Fingerprint(j Job) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "1\n%s\n%s\n%s\n", j.ID, j.target(), KernelInputs(j.Kernel, b.Run))
	if err := hashTree(h, b.Tree.SourceLink(j.ID)); err != nil {
		return "", err
	}
	for _, f := range slices.Concat(j.Conf.Files, []string{b.Environment}) {
		if err := hashFile(h, f, f); err != nil {
			return "", err
		}
	}
	if err := hashTree(h, b.Host.Root.Path("/etc/dkms/"+j.ID.Name)); err != nil {
		return "", err
	}
	for _, d := range j.Conf.BuildDepends {
		fmt.Fprintf(h, "%s=%s\n", d, b.Tree.Newest(d, j.target()))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// KernelInputs is a digest of what a kernel's headers bring into a build: its
// configuration, symbol versions and compiler.
func KernelInputs(k *kernel.Kernel, run *system.Runner) string {
	h := sha256.New()
	hashFile(h, "config", k.ConfigFile)
	hashFile(h, "symvers", filepath.Join(k.Headers, "Module.symvers"))
	tools := k.Toolchain(run)
	fmt.Fprintf(h, "%s %s %v %s\n", tools.CC, tools.LD, tools.Clang, k.Config().Text("CONFIG_CC_VERSION_TEXT"))
	if cc, err := run.Find(tools.CC); err == nil {
		if st, err := os.Stat(cc); err == nil {
			fmt.Fprintf(h, "%d %d\n", st.Size(), st.ModTime().Unix())
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hashTree adds the names, kinds, permissions and contents of everything below
// dir. A directory that is not there adds nothing.
func hashTree(h hash.Hash, dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil
	}
	return filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(real, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			_, err = fmt.Fprintf(h, "dir %q\n", rel)
		case d.Type()&fs.ModeSymlink != 0:
			var target string
			target, err = os.Readlink(path)
			fmt.Fprintf(h, "link %q %q\n", rel, target)
		case d.Type().IsRegular():
			err = hashFile(h, rel, path)
		}
		return err
	})
}

// hashFile adds a file under a name; one that is not there adds only that.
func hashFile(h hash.Hash, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		fmt.Fprintf(h, "none %q\n", name)
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "file %q %o %d\n", name, st.Mode().Perm(), st.Size())
	_, err = io.Copy(h, f)
	return err
}

// HeadersStamp tells cheaply whether a kernel's headers may have changed: it
// is made of the sizes and times of the two files that change with them.
func HeadersStamp(k *kernel.Kernel) tree.Stamp {
	var s tree.Stamp
	for i, path := range []string{k.ConfigFile, filepath.Join(k.Headers, "Module.symvers")} {
		if st, err := os.Stat(path); err == nil {
			s[2*i], s[2*i+1] = st.Size(), st.ModTime().UnixNano()
		}
	}
	return s
}
