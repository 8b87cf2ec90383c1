// Package fleet moves builds between machines: images to export and import,
// archives of sources and builds, and prebuilt_source, which can provide a
// build instead of making it here.
//
// It guarantees that a build is accepted only if it equals what would be built
// here, an accepted key has signed it, and this machine can load it; and that
// files are written completely or not at all.
package fleet

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/archive"
	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/image"
	"dkms/pkg/machine"
	"dkms/pkg/prebuilt"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// registry is the prefix of references to images in a registry.
const registry = "docker://"

// Image is an image unpacked into a private directory.
type Image struct {
	From, digest string
	dir          string
	certs        accepted
}

// Open fetches an image, verifies its digests and unpacks it below the
// directory temp. certificate names the certificates that may have signed its
// builds, instead of prebuilt_certificate; insecure allows connections without
// TLS.
func Open(ctx context.Context, m *machine.Machine, ref, temp, certificate string, insecure bool) (*Image, error) {
	if !strings.HasPrefix(ref, registry) {
		ref = m.Host.Abs(ref)
	}
	img, err := obtain(ctx, m, ref, temp, insecure || m.Framework.PrebuiltInsecure)
	if err != nil {
		return nil, err
	}
	img.certs, err = certificates(m, certificate)
	return img, err
}

func obtain(ctx context.Context, m *machine.Machine, ref, temp string, insecure bool) (*Image, error) {
	layout := ref
	switch {
	case strings.HasPrefix(ref, registry):
		layout = filepath.Join(temp, "layout")
		if err := fetch(ctx, m, ref, temp, insecure); err != nil {
			return nil, err
		}
	case system.IsFile(ref):
		f, err := os.Open(ref)
		if err != nil {
			return nil, exit.Errorf(exit.NoSource, "%w", err)
		}
		defer f.Close()
		layout = filepath.Join(temp, "layout")
		if err := archive.UnpackFiles(ctx, m.Run, ref, f, layout); err != nil {
			return nil, err
		}
	case !system.IsDir(ref):
		return nil, exit.Errorf(exit.NoSource, "%s: there is no such image", ref)
	}
	l, err := image.Open(layout)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	img := &Image{From: ref, digest: l.Digest, dir: filepath.Join(temp, "content")}
	if err := l.Unpack(ctx, m.Run, img.dir); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return img, nil
}

// accepted holds the certificates that may have signed builds of other
// machines, and where they come from.
type accepted struct {
	certs []*x509.Certificate
	from  string
}

// certificates reads the certificates that the caller names or, without any,
// those of prebuilt_certificate.
func certificates(m *machine.Machine, given string) (accepted, error) {
	path := m.Host.Root.Path(m.Framework.PrebuiltCertificate)
	switch {
	case given != "":
		path = m.Host.Abs(given)
	case m.Framework.PrebuiltCertificate == "":
		return accepted{}, nil
	}
	certs, err := sign.Certificates(path)
	if err != nil {
		return accepted{}, exit.Errorf(exit.BadArchive, "the certificates that builds of other machines may be signed with: %w", err)
	}
	return accepted{certs, path}, nil
}

// Subjects returns the builds of an image that the caller wants, dependencies
// first. name and version may be shell patterns, and may be empty. A build that
// is not allowed here is refused before its content is read.
func (img *Image) Subjects(m *machine.Machine, name, version string, choice machine.Choice) ([]machine.Subject, error) {
	records, err := prebuilt.Records(img.dir)
	if err != nil {
		return nil, err
	}
	var subjects []machine.Subject
	for _, r := range prebuilt.Ordered(records) {
		if !machine.Matches(name, r.Module) || !machine.Matches(version, r.Version) {
			continue
		}
		s := machine.Subject{ID: r.ID(), Target: r.Target()}
		if err := mayImport(m, choice, s); err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	if len(subjects) == 0 {
		return nil, exit.Errorf(exit.BadArchive, "it does not hold %s", name)
	}
	return subjects, nil
}

// mayImport refuses a build that is not allowed here, before its content is
// read.
func mayImport(m *machine.Machine, choice machine.Choice, s machine.Subject) error {
	if len(choice.Kernels) > 0 {
		targets, err := m.Targets(choice, m.Running)
		if err != nil {
			return err
		}
		if !slices.Contains(targets, s.Target) {
			return exit.Errorf(exit.BadArchive, "it is for kernel %s, not for %s", s.Target, targets[0])
		}
	}
	switch {
	case !system.IsDir(m.Kernel(s.Target).ModuleDir()):
		return exit.Errorf(exit.BadArchive, "it is for kernel %s, which is not installed here", s.Target)
	case m.Tree.State(s.ID) == tree.Broken:
		return m.Broken(s.ID)
	case m.Tree.State(s.ID) == tree.Absent:
		return exit.Errorf(exit.NotAdded, "%s is not registered with dkms: a build is only taken for sources that are here", s.ID).
			WithHint("dkms add %s", s.ID)
	}
	return nil
}

// Judge checks the build of a subject in an image: the build must equal what
// would be built here, an accepted key must have signed it, and this machine
// must be able to load it. with are builds of the image that have passed
// before.
func (img *Image) Judge(ctx context.Context, m *machine.Machine, s machine.Subject, c *conf.Module, with ...*prebuilt.Set) (*prebuilt.Set, error) {
	if err := c.CheckStrict(); err != nil {
		return nil, err
	}
	k := m.Kernel(s.Target)
	if err := m.CheckMeantFor(s, c); err != nil {
		return nil, err
	}
	in, err := m.Inputs(ctx)
	if err != nil {
		return nil, err
	}
	w := &prebuilt.Want{ID: s.ID, Kernel: k, Modules: map[string]string{}, Certificates: img.certs.certs, From: img.certs.from, Tree: m.Tree, With: with}
	if w.Source, err = in.SourceDigest(build.Job{ID: s.ID, Kernel: k, Conf: c}); err != nil {
		return nil, err
	}
	for _, r := range m.Records(c, s.Target) {
		w.Modules[r.DestName] = r.DestLocation
	}
	set, err := prebuilt.Open(img.dir, w)
	if err != nil {
		return nil, err
	}
	if trust := m.Trust(s.Target, set.Certificate); trust.Enforced() && !trust.Trusted() {
		return nil, exit.Errorf(exit.BadArchive, "this machine only loads modules signed with a key it trusts, and it does not trust %s", set.Signer).
			WithHint("enrol the certificate in %s", img.certs.from)
	}
	return set, nil
}

// Adopt puts one build into the tree as if it had been built here, except that
// its manifest says where it came from.
func (img *Image) Adopt(w *machine.Writer, s machine.Subject, c *conf.Module, set *prebuilt.Set, to *report.Reporter) error {
	now := w.Host.Now().UTC()
	made := &tree.Manifest{
		Built: now, Origin: &tree.Origin{From: img.From, Digest: img.digest, Time: now},
		Certificate: set.Certificate.Raw, PostRemove: c.PostRemove, NoWeakModules: c.NoWeakModules,
	}
	if k := w.Kernel(s.Target); k.HasHeaders() {
		made.Headers, made.HeadersStamp = build.KernelInputs(k, w.Run), build.HeadersStamp(k)
	}
	if err := set.Keep(w.Tree, made); err != nil {
		return err
	}
	w.Tree.ForgetFailure(s.ID, s.Target)
	w.Tree.ForgetAnswer(s.ID, s.Target)
	to.Emit(report.Event{Kind: report.Done, Module: s.ID.String(), Kernel: s.Kernel, Arch: s.Arch, Step: "import",
		Text: fmt.Sprintf("%s: imported for %s from %s", s.ID, s.Target, img.From)})
	if !c.BuildDependsRebuild {
		return nil
	}
	return w.Tree.RecordDepends(s.ID, s.Target, c.BuildDepends)
}
