package prebuilt

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Want is what a build of another machine must match.
type Want struct {
	ID     tree.ID
	Kernel *kernel.Kernel
	// Source is the digest of the sources that are registered here.
	Source string
	// Modules maps the modules that the dkms.conf of those sources promises for
	// the kernel, without suffix, to their destinations.
	Modules map[string]string
	// Certificates are those that may have signed a build; From says where they
	// were read.
	Certificates []*x509.Certificate
	From         string
	// Tree has the builds that this build depends on, except for those in With:
	// builds that passed the check and will be put into the tree.
	Tree *tree.Tree
	With []*Set
}

// has returns the version and the Module.symvers of the module name that builds
// use here.
func (w *Want) has(name string) (version string, symvers []byte) {
	for _, s := range w.With {
		if s.Module == name && s.Target() == w.target() {
			return s.Version, s.symvers
		}
	}
	version = w.Tree.Newest(name, w.target())
	path := filepath.Join(w.Tree.Modules(tree.ID{Name: name, Version: version}, w.target()), symversFile)
	data, err := system.ReadRegular(path, maxSymvers)
	if err != nil {
		return version, nil
	}
	return version, data
}

// maxSymvers bounds a Module.symvers.
const maxSymvers = 32 << 20

func (w *Want) target() tree.Target {
	return tree.Target{Kernel: w.Kernel.Release, Arch: w.Kernel.Arch}
}

// Set is a build of an image that has passed the check.
type Set struct {
	Record
	// Certificate is the certificate of its signature.
	Certificate *x509.Certificate

	files   map[string][]byte
	symvers []byte
}

// maxModule bounds one module file of an image.
const maxModule = 512 << 20

// Open finds the build that w wants in the directory into which an image was
// unpacked, and checks the build. The error is the reason to refuse it.
func Open(dir string, w *Want) (*Set, error) {
	if len(w.Certificates) == 0 {
		return nil, refuse("no certificate is named that builds of other machines may be signed with").
			WithHint("name it with prebuilt_certificate in framework.conf, or with --certificate")
	}
	records, err := Records(dir)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(records, func(r Record) bool { return r.ID() == w.ID })
	if i < 0 {
		return nil, refuse("it holds %s, not %s", records[0].ID(), w.ID)
	}
	if got := records[i].Target(); got != w.target() {
		return nil, refuse("it is for kernel %s, not for %s", got, w.target())
	}
	s := &Set{files: map[string][]byte{}}
	if err := s.readRecord(dir, w); err != nil {
		return nil, err
	}
	if err := s.checkInputs(w); err != nil {
		return nil, err
	}
	return s, s.readFiles(dir, w)
}

// readRecord reads the record of the build and verifies its signature.
func (s *Set) readRecord(dir string, w *Want) error {
	base := filepath.Join(dir, recordDir(w.ID))
	data, err := system.ReadRegular(filepath.Join(base, recordFile), maxRecord)
	if err != nil {
		return refuse("%w", err)
	}
	sig, err := system.ReadRegular(filepath.Join(base, signature), maxRecord)
	if err != nil {
		return refuse("what it says of itself is not signed")
	}
	if s.Certificate, err = sign.VerifyAny(sig, data, w.Certificates); err != nil {
		return refuse("what it says of itself is not signed with a certificate of %s: %w", w.From, err)
	}
	r, err := parse(data)
	if err != nil {
		return err
	}
	s.Record = *r
	if r.ID() != w.ID || r.Target() != w.target() {
		return refuse("it is %s for %s", r.ID(), r.Target())
	}
	return nil
}

// checkInputs compares the inputs of the build with those of this machine.
func (s *Set) checkInputs(w *Want) error {
	if s.Source != w.Source {
		return refuse("it was built from other sources or another configuration than are registered here (%.12s, not %.12s)", s.Source, w.Source)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Depends)) {
		if have, _ := w.has(name); have != s.Depends[name] {
			return refuse("it was built against %s/%s, and here is %s", name, s.Depends[name], orNone(have))
		}
	}
	var names []string
	for i, f := range s.Files {
		name, _, ok := module.ParseSuffix(f.Name)
		if !ok {
			return refuse("%s is no module", f.Name)
		}
		names = append(names, name)
		s.Files[i].Location = w.Modules[name]
	}
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(w.Modules)); !slices.Equal(names, want) {
		return refuse("it has the modules %s; the dkms.conf here has %s", strings.Join(names, " "), strings.Join(want, " "))
	}
	return nil
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

// readFiles reads the modules and checks them one by one.
func (s *Set) readFiles(dir string, w *Want) error {
	known := s.symbols(w)
	for _, f := range s.Files {
		data, err := system.ReadRegular(filepath.Join(dir, kernelDir(s.Kernel), modulesBelow, f.Name), maxModule)
		if err != nil {
			return refuse("%w", err)
		}
		if digest(data) != f.SHA256 || int64(len(data)) != f.Size {
			return refuse("%s is not the file that was built", f.Name)
		}
		if err := checkModule(f.Name, data, w, known); err != nil {
			return err
		}
		s.files[f.Name] = data
	}
	if s.Symvers == "" {
		return nil
	}
	var err error
	s.symvers, err = system.ReadRegular(filepath.Join(dir, recordDir(w.ID), symversFile), maxSymvers)
	if err != nil || digest(s.symvers) != s.Symvers {
		return refuse("its %s is not the file that was built", symversFile)
	}
	return nil
}

// checkModule checks one module. The signature comes first, because an unsigned
// module could claim anything about itself.
func checkModule(name string, data []byte, w *Want, known symbols) error {
	plain, err := module.Decompress(data)
	if err != nil {
		return refuse("%s: %w", name, err)
	}
	info, err := module.ReadBytes(name, plain)
	if err != nil {
		return refuse("%w", err)
	}
	payload, pkcs7, ok := module.CutSignature(plain)
	if !ok {
		return refuse("%s is not signed", name)
	}
	if _, err := sign.VerifyAny(pkcs7, payload, w.Certificates); err != nil {
		return refuse("%s is signed by %q, with a certificate that is not in %s: %w", name, info.Signature.Signer, w.From, err)
	}
	if why := known.misfit(info, w); why != "" {
		return refuse("%s does not fit the kernel here: %s", name, why)
	}
	return nil
}

// symbols is what modules can link to, read when it is first needed.
type symbols struct {
	kernel func() (map[string]uint32, bool)
	depend map[string]uint32
	magic  func() string
}

// symbols collects the exports of the kernel and of the modules that this build
// was built against.
func (s *Set) symbols(w *Want) symbols {
	k := symbols{
		kernel: sync.OnceValues(w.Kernel.SymbolVersions), depend: map[string]uint32{},
		magic: sync.OnceValue(w.Kernel.Vermagic),
	}
	for _, name := range slices.Sorted(maps.Keys(s.Depends)) {
		_, symvers := w.has(name)
		maps.Copy(k.depend, kernel.ParseSymvers(symvers))
	}
	return k
}

// misfit returns why the kernel would not load a module, or "".
func (k symbols) misfit(info *module.Info, w *Want) string {
	if !kernel.MadeFor(w.Kernel.Arch, info.Machine, info.Data) {
		return fmt.Sprintf("it was built for %s %s", info.Machine, info.Data)
	}
	if info.Release() != w.Kernel.Release {
		return fmt.Sprintf("it was built for kernel %q", info.Release())
	}
	if magic := k.magic(); magic != "" && magic != info.Vermagic {
		return fmt.Sprintf("its vermagic is %q, that of the kernel %q", info.Vermagic, magic)
	}
	if len(info.Symbols) == 0 {
		return ""
	}
	known, whole := k.kernel()
	all := maps.Clone(k.depend)
	maps.Copy(all, known)
	why := kernel.Misfit(info, w.Kernel.Release, all)
	if why != "" && !whole {
		why += ", as far as can be told without its headers"
	}
	return why
}

// Keep puts a build into the tree and replaces an earlier one. Its manifest
// combines the given m with the facts of the image.
func (s *Set) Keep(t *tree.Writer, m *tree.Manifest) error {
	stage, err := t.Stage(s.ID(), s.Target())
	if err != nil {
		return err
	}
	defer stage.Discard()
	if err := stage.Lay(); err != nil {
		return err
	}
	for name, data := range s.files {
		if err := stage.Module(name, data); err != nil {
			return err
		}
	}
	if s.symvers != nil {
		if err := stage.Module(symversFile, s.symvers); err != nil {
			return err
		}
	}
	m.Schema = 0
	m.Module, m.Version, m.Kernel, m.Arch = s.Module, s.Version, s.Record.Kernel, s.Arch
	m.Fingerprint, m.SourceDigest, m.Compiler, m.Signer, m.Files = s.Fingerprint, s.Source, s.Compiler, s.Signer, s.Files
	var log bytes.Buffer
	fmt.Fprintf(&log, "%s for kernel %s\nNothing was compiled here: this build comes from\n%s (%s)\n\n", s.ID(), s.Target(), m.Origin.From, m.Origin.Digest)
	enc := json.NewEncoder(&log)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s.Record); err != nil {
		return err
	}
	if err := system.WriteFile(stage.Log(), log.Bytes(), 0o644); err != nil {
		return err
	}
	err = stage.Save(m)
	if err == nil {
		err = stage.Swap()
	}
	if err != nil {
		return exit.Errorf(exit.NoModule, "%w", err)
	}
	return nil
}
