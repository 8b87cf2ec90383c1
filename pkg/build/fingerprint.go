package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"dkms/pkg/conf"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Fingerprint is a digest of everything that decides how a build ends: what
// [Builder.SourceDigest] is of, the file that build_environment names, the
// kernel's headers and compiler, what builds are allowed, and the versions of
// what the module builds on. Two builds with the same fingerprint have the
// same outcome, as far as this program can tell.
func (b *Builder) Fingerprint(j Job) (string, error) {
	source, err := b.SourceDigest(j)
	if err != nil {
		return "", err
	}
	return b.fingerprint(j, source, KernelInputs(j.Kernel, b.Run)), nil
}

func (b *Builder) fingerprint(j Job, source, headers string) string {
	h := sha256.New()
	fmt.Fprintf(h, "2\n%s\n%s\n%s\n%s\n", j.ID, j.target(), headers, source)
	if b.Environment != "" {
		hashFile(h, b.Environment, b.Environment)
	}
	fmt.Fprintf(h, "%q %q\n", b.Framework.BuildSandbox, b.Framework.SandboxAllow)
	limits := [3]int{b.Framework.FileLimit, b.Framework.DiskLimit, b.Framework.ProcessLimit}
	if limits != [3]int{conf.DefaultFileLimit, conf.DefaultDiskLimit, conf.DefaultProcessLimit} {
		fmt.Fprintf(h, "limits %v\n", limits)
	}
	for _, d := range j.Conf.BuildDepends {
		fmt.Fprintf(h, "%s=%s\n", d, b.Tree.Newest(d, j.target()))
	}
	return hex.EncodeToString(h.Sum(nil))
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

// hashFile adds a file under a name; one that cannot be read adds only that.
func hashFile(h hash.Hash, name, path string) {
	if digestFile(h, name, path) != nil {
		fmt.Fprintf(h, "none %q\n", name)
	}
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
