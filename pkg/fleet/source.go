package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/prebuilt"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Prebuilt is prebuilt_source: a registry or a directory that may have builds
// of other machines.
type Prebuilt struct {
	// TryAgain says that somebody is waiting for the build: where the source
	// does not have it, it is built here even if it failed before from the same
	// inputs.
	TryAgain bool

	// away keeps a run from waiting twice for a source that does not answer;
	// until the source has answered, one build at a time asks.
	away, answers atomic.Bool
	first         sync.Mutex
}

// NewPrebuilt returns the prebuilt_source of a machine, or nil where none is
// configured.
func NewPrebuilt(m *machine.Machine) *Prebuilt {
	if m.Framework.PrebuiltSource == "" {
		return nil
	}
	return &Prebuilt{}
}

// Take requests the build of a subject and puts it into the tree. Where that is
// not possible, Take reports and records the reason.
func (p *Prebuilt) Take(ctx context.Context, w *machine.Writer, sub machine.Subject, c *conf.Module, to *report.Reporter) (done bool, err error) {
	ref := reference(w.Machine, sub)
	err = p.ask(ctx, w, sub, c, ref, to)
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	answer(w, sub, ref, err, to)
	if f := w.TriedBefore(ctx, sub, c); f != nil && !p.TryAgain {
		return false, w.NotAgain(sub, f)
	}
	return false, nil
}

// ask puts the build of a subject from ref into the tree, if ref has the build
// and it passes the checks.
func (p *Prebuilt) ask(ctx context.Context, w *machine.Writer, sub machine.Subject, c *conf.Module, ref string, to *report.Reporter) error {
	if !p.answers.Load() {
		p.first.Lock()
		defer p.first.Unlock()
	}
	if p.away.Load() {
		return exit.Errorf(exit.NoSource, "%s: %w: it did not answer before", ref, errAway)
	}
	if source := w.Framework.PrebuiltSource; !strings.HasPrefix(source, registry) && !system.IsDir(w.Host.Root.Path(source)) {
		return exit.Errorf(exit.NoSource, "%s: %w: there is no such directory", source, errAway)
	}
	dir, err := os.MkdirTemp(w.Framework.TmpLocation, "dkms-import.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	img, err := Open(ctx, w.Machine, ref, dir, "", false)
	if err != nil {
		if errors.Is(err, errAway) {
			p.away.Store(true)
		}
		return err
	}
	p.answers.Store(true)
	set, err := img.Judge(ctx, w.Machine, sub, c)
	if err != nil {
		return err
	}
	return img.Adopt(w, sub, c, set, to)
}

// reference returns where prebuilt_source would have the build of a subject: a
// tag of a repository, or a directory or archive in a directory.
func reference(m *machine.Machine, sub machine.Subject) string {
	tag := prebuilt.Tag(sub.ID, sub.Target)
	source := m.Framework.PrebuiltSource
	if strings.HasPrefix(source, registry) {
		return strings.TrimSuffix(source, "/") + ":" + tag
	}
	path := filepath.Join(m.Host.Root.Path(source), tag)
	if !system.IsDir(path) && system.IsFile(path+".tar") {
		return path + ".tar"
	}
	return path
}

// answer reports why a build is made here after all, and records the reason for
// status and why.
func answer(w *machine.Writer, sub machine.Subject, ref string, err error, to *report.Reporter) {
	a := tree.Answer{Time: w.Host.Now().UTC(), From: ref, Word: "refused", Reason: err.Error()}
	switch {
	case errors.Is(err, errAway):
		a.Word = "away"
		to.Warnf("%s: %v; building it here", sub.ID, err)
	case errors.Is(err, errNothing), !strings.HasPrefix(ref, registry) && exit.Status(err) == exit.NoSource:
		a.Word, a.Reason = "none", ""
		to.Progressf("%s: %s has no build for %s; building it here", sub.ID, w.Framework.PrebuiltSource, sub.Target)
	default:
		to.Warnf("%s: the build of %s is refused: %v; building it here", sub.ID, w.Framework.PrebuiltSource, err)
		if hint := exit.Hint(err); hint != "" {
			to.Warnf("%s", hint)
		}
	}
	if err := w.Tree.RecordAnswer(sub.ID, sub.Target, a); err != nil {
		to.Warnf("%s: %v", sub.ID, err)
	}
}
