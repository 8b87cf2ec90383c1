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

// Compared describes the inputs of a fingerprint in words, to be followed by
// "of" and a time.
const Compared = "its sources and configuration, the headers and the compiler are those"

// Fingerprint is a digest of everything that decides the outcome of a build:
// the inputs of [Inputs.SourceDigest], the file that build_environment names,
// the kernel's headers and compiler, the permissions and time limit of builds,
// and the versions of the modules that the module builds on. Two builds with
// the same fingerprint have the same outcome, as far as this program can tell.
func (b *Inputs) Fingerprint(j Job) (string, error) {
	source, err := b.SourceDigest(j)
	if err != nil {
		return "", err
	}
	return b.fingerprint(j, source, KernelInputs(j.Kernel, b.Run)), nil
}

func (b *Inputs) fingerprint(j Job, source, headers string) string {
	h := sha256.New()
	fmt.Fprintf(h, "2\n%s\n%s\n%s\n%s\n", j.ID, j.target(), headers, source)
	if b.Host.Tools != nil { // the programs are not those of the system
		fmt.Fprintln(h, "toolchain", b.Host.Tools)
	}
	if b.Environment != "" {
		hashFile(h, b.Environment, b.Environment)
	}
	fmt.Fprintf(h, "%q %q %s\n", b.Framework.BuildSandbox, b.Framework.SandboxAllow, b.Framework.BuildTimeLimit)
	limits := [3]int{b.Framework.FileLimit, b.Framework.DiskLimit, b.Framework.ProcessLimit}
	if limits != [3]int{conf.DefaultFileLimit, conf.DefaultDiskLimit, conf.DefaultProcessLimit} {
		fmt.Fprintf(h, "limits %v\n", limits)
	}
	for _, d := range j.Conf.BuildDepends {
		fmt.Fprintf(h, "%s=%s\n", d, b.Tree.Newest(d, j.target()))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// KernelInputs is a digest of the inputs that a kernel's headers bring into a
// build: configuration, symbol versions, compiler, the headers themselves, and
// the build time of the kernel.
func KernelInputs(k *kernel.Kernel, run *system.Runner) string {
	h := sha256.New()
	hashFile(h, "config", k.ConfigFile)
	hashFile(h, "symvers", filepath.Join(k.Headers, "Module.symvers"))
	fmt.Fprintf(h, "headers %s\n", k.HeadersDigest())
	tools := k.Toolchain(run)
	fmt.Fprintf(h, "%s %s %v %s\n", tools.CC, tools.LD, tools.Clang, k.Config().Text("CONFIG_CC_VERSION_TEXT"))
	if tools.Arch != "" {
		fmt.Fprintln(h, "cross", tools.Arch, tools.Prefix)
	}
	if cc, err := run.Find(tools.CC); err == nil {
		if st, err := run.Stat(cc); err == nil {
			fmt.Fprintf(h, "%d %d\n", st.Size(), st.ModTime().Unix())
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hashFile adds a name and the contents of the file; for an unreadable file it
// adds only the name.
func hashFile(h hash.Hash, name, path string) {
	if digestFile(h, name, path) != nil {
		fmt.Fprintf(h, "none %q\n", name)
	}
}

// HeadersStamp tells cheaply whether a kernel's headers may have changed: the
// stamp consists of the sizes and times of the configuration, of Module.symvers
// and of the files that every build of a kernel writes again.
func HeadersStamp(k *kernel.Kernel) tree.Stamp {
	var s tree.Stamp
	if st, err := os.Stat(k.ConfigFile); err == nil {
		s[0], s[1] = st.Size(), st.ModTime().UnixNano()
	}
	if st, err := os.Stat(filepath.Join(k.Headers, "Module.symvers")); err == nil {
		s[2] = st.Size()
	}
	s[3] = k.HeadersMark()
	return s
}
