package engine

import (
	"context"
	"crypto/x509"
	"errors"
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
	"dkms/pkg/plan"
	"dkms/pkg/prebuilt"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// registry begins references to images in a registry.
const registry = "docker://"

// importImage takes the builds of an image into the tree and installs them. All
// of them are good, or nothing changes.
func (e *Engine) importImage(ctx context.Context, req *Request) (code exit.Code, err error) {
	if req.Archive == "" {
		return 0, exit.Errorf(exit.Usage, "import needs an image").WithHint("dkms import FILE | DIRECTORY | docker://REGISTRY/REPOSITORY:TAG")
	}
	dir, err := os.MkdirTemp(e.framework.TmpLocation, "dkms-import.")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	ref := req.Archive
	if !strings.HasPrefix(ref, registry) {
		ref = e.host.Abs(ref)
	}
	img, err := e.obtain(ctx, ref, dir, req.Insecure || e.framework.PrebuiltInsecure)
	if err != nil {
		return 0, err
	}
	certs, err := e.certificates(req.Certificate)
	if err != nil {
		return 0, err
	}
	err = e.locking(ctx, req, func() error {
		sets, confs, err := e.judgeAll(ctx, req, img, certs)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		code, err = e.takeIn(ctx, req, img, sets, confs)
		return err
	})
	return code, err
}

// obtained is an image that was taken apart in a private directory.
type obtained struct {
	from, digest string
	dir          string
}

// obtain gets an image, verifies its digests and unpacks it below temp.
func (e *Engine) obtain(ctx context.Context, ref, temp string, insecure bool) (*obtained, error) {
	layout := ref
	switch {
	case strings.HasPrefix(ref, registry):
		layout = filepath.Join(temp, "layout")
		if err := e.fetch(ctx, ref, temp, insecure); err != nil {
			return nil, err
		}
	case system.IsFile(ref):
		f, err := os.Open(ref)
		if err != nil {
			return nil, exit.Errorf(exit.NoSource, "%w", err)
		}
		defer f.Close()
		layout = filepath.Join(temp, "layout")
		if err := archive.UnpackFiles(ctx, e.run, ref, f, layout); err != nil {
			return nil, err
		}
	case !system.IsDir(ref):
		return nil, exit.Errorf(exit.NoSource, "%s: there is no such image", ref)
	}
	l, err := image.Open(layout)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	o := &obtained{from: ref, digest: l.Digest, dir: filepath.Join(temp, "content")}
	if err := l.Unpack(ctx, e.run, o.dir); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return o, nil
}

// errAway says that a source of images does not answer, and errNothing that it
// does not have what it was asked for.
var (
	errAway    = errors.New("cannot be asked")
	errNothing = errors.New("there is no such image")
)

// fetch has skopeo bring an image from a registry into the directory "layout"
// of dir. To skopeo a path with a colon would mean something else.
func (e *Engine) fetch(ctx context.Context, ref, dir string, insecure bool) error {
	if !e.run.Has("skopeo") {
		return exit.Errorf(exit.NoSource, "%s: %w: skopeo is not installed", ref, errAway).WithHint("install the package skopeo")
	}
	argv := []string{"skopeo", "copy", "--quiet"}
	if insecure {
		argv = append(argv, "--src-tls-verify=false")
	}
	limit := e.framework.PrebuiltTimeout
	late := exit.Errorf(exit.NoSource, "%s: %w: no answer within %s", ref, errAway, limit).
		WithHint("prebuilt_timeout in framework.conf sets the limit")
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	err := e.run.Run(ctx, system.Cmd{Argv: append(argv, ref, "oci:layout"), Dir: dir, Env: e.registryEnv()})
	var status *system.ExitError
	if err == nil || !errors.As(err, &status) {
		return err
	}
	return fetchError(ref, status.Stderr)
}

// fetchError tells from what skopeo says whether an image is not there, not
// whole, or the registry at fault; it has one status for all of them.
func fetchError(ref, stderr string) error {
	why := skopeoSays(stderr)
	says := func(mark string) bool { return strings.Contains(stderr, mark) }
	switch {
	case slices.ContainsFunc([]string{"manifest unknown", "name unknown", "repository name not known"}, says):
		return exit.Errorf(exit.NoSource, "%s: %w: %s", ref, errNothing, why)
	case slices.ContainsFunc([]string{"Digest did not match", "digest mismatch", "does not match"}, says):
		return exit.Errorf(exit.BadArchive, "%s: the contents are not what the digest says: %s", ref, why)
	}
	return exit.Errorf(exit.NoSource, "%s: %w: %s", ref, errAway, why)
}

// registryEnv is what of the caller's environment decides how registries are
// reached and who asks them.
func (e *Engine) registryEnv() map[string]string {
	env := map[string]string{}
	for _, name := range []string{
		"REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
	} {
		if v := e.host.Env[name]; v != "" {
			env[name] = v
		}
	}
	return env
}

// skopeoSays is the message in the last line that skopeo logs.
func skopeoSays(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	last := lines[len(lines)-1]
	if _, msg, ok := strings.Cut(last, `msg="`); ok {
		return strings.ReplaceAll(strings.TrimSuffix(msg, `"`), `\"`, `"`)
	}
	return last
}

// accepted are the certificates that builds of other machines may be signed
// with, and where they come from.
type accepted struct {
	certs []*x509.Certificate
	from  string
}

// certificates reads those that the caller names or, where none are named,
// those of prebuilt_certificate.
func (e *Engine) certificates(given string) (accepted, error) {
	path := e.host.Root.Path(e.framework.PrebuiltCertificate)
	switch {
	case given != "":
		path = e.host.Abs(given)
	case e.framework.PrebuiltCertificate == "":
		return accepted{}, nil
	}
	certs, err := sign.Certificates(path)
	if err != nil {
		return accepted{}, exit.Errorf(exit.BadArchive, "the certificates that builds of other machines may be signed with: %w", err)
	}
	return accepted{certs, path}, nil
}

// judgeAll checks every build of an image, or the one that is named, and gives
// back what was read of their configuration, too.
func (e *Engine) judgeAll(ctx context.Context, req *Request, img *obtained, certs accepted) ([]*prebuilt.Set, map[subject]conf.Result, error) {
	records, err := prebuilt.Records(img.dir)
	if err != nil {
		return nil, nil, err
	}
	var subjects []subject
	for _, r := range prebuilt.Ordered(records) {
		if !matches(req.Name, r.Module) || !matches(req.Version, r.Version) {
			continue
		}
		s := subject{r.ID(), r.Target()}
		if err := e.mayImport(req, s); err != nil {
			return nil, nil, err
		}
		subjects = append(subjects, s)
	}
	if len(subjects) == 0 {
		return nil, nil, exit.Errorf(exit.BadArchive, "it does not hold %s", req.Name)
	}
	var sets []*prebuilt.Set
	confs := map[subject]conf.Result{}
	for i, res := range e.confs(ctx, subjects, e.confFile) {
		if res.Err != nil {
			return nil, nil, fmt.Errorf("%s: %w", subjects[i].ID, res.Err)
		}
		set, err := e.judge(ctx, subjects[i], res.Conf, img, certs, sets...)
		if err != nil {
			return nil, nil, err
		}
		confs[subjects[i]] = res
		sets = append(sets, set)
	}
	return sets, confs, nil
}

// mayImport refuses a build that has no business here, before it is looked at.
func (e *Engine) mayImport(req *Request, s subject) error {
	if len(req.Kernels) > 0 {
		targets, err := e.targets(req, e.running)
		if err != nil {
			return err
		}
		if !slices.Contains(targets, s.Target) {
			return exit.Errorf(exit.BadArchive, "it is for kernel %s, not for %s", s.Target, targets[0])
		}
	}
	switch {
	case !system.IsDir(e.kernel(s.Target).ModuleDir()):
		return exit.Errorf(exit.BadArchive, "it is for kernel %s, which is not installed here", s.Target)
	case e.tree.State(s.ID) == tree.Broken:
		return e.broken(s.ID)
	case e.tree.State(s.ID) == tree.Absent:
		return exit.Errorf(exit.NotAdded, "%s is not registered with dkms: a build is only taken for sources that are here", s.ID).
			WithHint("dkms add %s", s.ID)
	}
	return nil
}

// judge checks the build of a subject in an image: it must be what would be
// built here, signed by somebody who may, and this machine must load it. with
// are builds of the image that were found good before.
func (e *Engine) judge(ctx context.Context, s subject, c *conf.Module, img *obtained, certs accepted, with ...*prebuilt.Set) (*prebuilt.Set, error) {
	if err := c.CheckStrict(); err != nil {
		return nil, err
	}
	k := e.kernel(s.Target)
	if err := notFor(s, c, k); err != nil {
		return nil, err
	}
	b, err := e.builder(ctx, false)
	if err != nil {
		return nil, err
	}
	w := &prebuilt.Want{ID: s.ID, Kernel: k, Modules: map[string]string{}, Certificates: certs.certs, From: certs.from, Tree: e.tree, With: with}
	if w.Source, err = b.SourceDigest(build.Job{ID: s.ID, Kernel: k, Conf: c}); err != nil {
		return nil, err
	}
	for _, r := range c.Active(build.ConfTarget(k, false), configOf(k)) {
		w.Modules[r.DestName] = r.DestLocation
	}
	set, err := prebuilt.Open(img.dir, w)
	if err != nil {
		return nil, err
	}
	if trust := e.trust(s.Target, set.Certificate); trust.Enforced() && !trust.Trusted() {
		return nil, exit.Errorf(exit.BadArchive, "this machine only loads modules signed with a key it trusts, and it does not trust %s", set.Signer).
			WithHint("enrol the certificate in %s", certs.from)
	}
	return set, nil
}

// takeIn puts builds that were found good into the tree and installs them.
func (e *Engine) takeIn(ctx context.Context, req *Request, img *obtained, sets []*prebuilt.Set, confs map[subject]conf.Result) (exit.Code, error) {
	p := &plan.Plan{}
	for _, set := range sets {
		id, t := set.ID(), set.Target()
		switch {
		case e.tree.IsBuilt(id, t) && !req.Force:
			e.report.Progressf("%s: already built for %s; --force replaces that", id, t)
		case req.DryRun:
			e.report.Result(fmt.Sprintf("would import %s for %s: %s", id, t, img.from))
		default:
			s := subject{id, t}
			if err := e.adoptSet(s, confs[s].Conf, set, img); err != nil {
				return 0, err
			}
		}
		o := plan.Options{Force: req.Force}
		state := e.subjects(id, []tree.Target{t})
		state[0].Built = true
		p.Append(plan.ForInstall(state, o))
	}
	return e.carryThrough(ctx, req, p, confs)
}

// adoptSet puts one build into the tree as if it had been built here, but for
// what its manifest says of where it came from.
func (e *Engine) adoptSet(s subject, c *conf.Module, set *prebuilt.Set, img *obtained) error {
	now := e.host.Now().UTC()
	m := &tree.Manifest{
		Built: now, Origin: &tree.Origin{From: img.from, Digest: img.digest, Time: now},
		Certificate: set.Certificate.Raw, PostRemove: c.PostRemove, NoWeakModules: c.NoWeakModules,
	}
	if k := e.kernel(s.Target); k.HasHeaders() {
		m.Headers, m.HeadersStamp = build.KernelInputs(k, e.run), build.HeadersStamp(k)
	}
	if err := set.Keep(e.tree, m); err != nil {
		return err
	}
	e.tree.ForgetFailure(s.ID, s.Target)
	e.tree.ForgetAnswer(s.ID, s.Target)
	e.report.Emit(report.Event{Kind: report.Done, Module: s.ID.String(), Kernel: s.Kernel, Arch: s.Arch, Step: "import",
		Text: fmt.Sprintf("%s: imported for %s from %s", s.ID, s.Target, img.from)})
	if !c.BuildDependsRebuild {
		return nil
	}
	return e.tree.RecordDepends(s.ID, s.Target, c.BuildDepends)
}
