package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/prebuilt"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// asksFirst tells whether a request looks for builds of other machines before
// it builds. Who says build, or force, means here.
func (e *Engine) asksFirst(req *Request) bool {
	verbs := []Verb{Autoinstall, KernelPostinst, Install, Match}
	return e.framework.PrebuiltSource != "" && !req.Force && slices.Contains(verbs, req.Verb)
}

// headersFor says what keeps modules from being built for a kernel, where they
// have to be built here.
func (e *Engine) headersFor(t tree.Target) error {
	if e.framework.PrebuiltSource != "" {
		return nil
	}
	return e.kernel(t).CheckHeaders(e.distribution)
}

// prebuilt tries to do without building: prebuilt_source is asked for the build
// of a subject. done says that it is in the tree. Otherwise it is said, and put
// on record, why it is to be built here; an error says that it is not to be
// tried.
func (r *run) prebuilt(ctx context.Context, sub subject, c *conf.Module, k *kernel.Kernel) (done bool, err error) {
	if !r.asksFirst(r.req) {
		r.tree.ForgetAnswer(sub.ID, sub.Target) // which was about another build
		return false, nil
	}
	if err := r.checkDepends(sub, c); err != nil {
		return false, err
	}
	ref := r.reference(sub)
	err = r.ask(ctx, sub, c, ref)
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	r.answer(sub, ref, err)
	if f := r.triedBefore(ctx, sub, c); f != nil && r.req.Verb != Install && r.req.Verb != Match {
		return false, notAgain(sub, f)
	}
	return false, nil
}

// imported tells whether a build comes from another machine.
func (e *Engine) imported(id tree.ID, t tree.Target) bool {
	m, err := e.tree.Manifest(id, t)
	return err == nil && m != nil && m.Origin != nil
}

// ask takes the build of a subject from ref, if it is there and good.
func (r *run) ask(ctx context.Context, sub subject, c *conf.Module, ref string) error {
	if r.away.Load() {
		return exit.Errorf(exit.NoSource, "%s: %w: it did not answer before", ref, errAway)
	}
	if source := r.framework.PrebuiltSource; !strings.HasPrefix(source, registry) && !system.IsDir(r.host.Root.Path(source)) {
		return exit.Errorf(exit.NoSource, "%s: %w: there is no such directory", source, errAway)
	}
	dir, err := os.MkdirTemp(r.framework.TmpLocation, "dkms-import.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	img, err := r.obtain(ctx, ref, dir, r.framework.PrebuiltInsecure)
	if err != nil {
		if errors.Is(err, errAway) {
			r.away.Store(true)
		}
		return err
	}
	certs, err := r.certificates("")
	if err != nil {
		return err
	}
	set, err := r.judge(ctx, sub, c, img, certs)
	if err != nil {
		return err
	}
	return r.adoptSet(sub, c, set, img)
}

// reference is where prebuilt_source has the build of a subject, if it does: a
// tag of a repository, or a directory or archive in a directory.
func (e *Engine) reference(sub subject) string {
	tag := prebuilt.Tag(sub.ID, sub.Target)
	source := e.framework.PrebuiltSource
	if strings.HasPrefix(source, registry) {
		return strings.TrimSuffix(source, "/") + ":" + tag
	}
	path := filepath.Join(e.host.Root.Path(source), tag)
	if !system.IsDir(path) && system.IsFile(path+".tar") {
		return path + ".tar"
	}
	return path
}

// answer reports why a build is made here after all, and keeps it on record for
// status and why.
func (r *run) answer(sub subject, ref string, err error) {
	a := tree.Answer{Time: r.host.Now().UTC(), From: ref, Word: "refused", Reason: err.Error()}
	switch {
	case errors.Is(err, errAway):
		a.Word = "away"
		r.report.Warnf("%s: %v; building it here", sub.ID, err)
	case errors.Is(err, errNothing), !strings.HasPrefix(ref, registry) && exit.Status(err) == exit.NoSource:
		a.Word, a.Reason = "none", ""
		r.report.Progressf("%s: %s has no build for %s; building it here", sub.ID, r.framework.PrebuiltSource, sub.Target)
	default:
		r.report.Warnf("%s: the build of %s is refused: %v; building it here", sub.ID, r.framework.PrebuiltSource, err)
		if hint := exit.Hint(err); hint != "" {
			r.report.Warnf("%s", hint)
		}
	}
	if err := r.tree.RecordAnswer(sub.ID, sub.Target, a); err != nil {
		r.report.Warnf("%s: %v", sub.ID, err)
	}
}

// prebuilts looks for what builds of other machines cannot be had without. A
// machine that takes those need not be able to make any.
func (d *doctor) prebuilts() {
	source := d.framework.PrebuiltSource
	switch {
	case strings.HasPrefix(source, registry) && !d.run.Has("skopeo"):
		d.add("programs", installCommand(d.distribution, "skopeo"), nil, "skopeo is not installed, and prebuilt_source is %s", source)
	case !strings.HasPrefix(source, registry) && !system.IsDir(d.host.Root.Path(source)):
		d.add("prebuilt", "mkdir "+source+", or mount it", nil, "prebuilt_source %s is not there", source)
	}
	certs, err := d.certificates("")
	switch {
	case err != nil:
		d.add("prebuilt", "", nil, "%v", err)
	case len(certs.certs) == 0:
		d.add("prebuilt", "set prebuilt_certificate in framework.conf", nil, "prebuilt_source is set, but no certificate that builds may be signed with: none is taken")
	}
}
