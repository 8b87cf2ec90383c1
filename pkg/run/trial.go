package run

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/tree"
)

// trial says how a rehearsal is carried out.
type trial struct {
	// dir is the directory for the scratch machine and the logs of failures.
	dir string
	// dryRun builds nothing, and keep keeps what builds for the run that is
	// rehearsed.
	dryRun, keep bool
}

// keepBuilds keeps what was built in isolation, so that the run that was rehearsed
// need not build it again. What cannot be kept is built again.
func keepBuilds(ctx context.Context, x *executor) {
	for _, s := range x.plan.Steps {
		sub := machine.Subject{ID: s.ID, Target: s.Target}
		if c := x.confs[sub].Conf; s.Kind == plan.Build && x.results[sub].outcome == plan.Changed && x.builds.confines(c) && c.PostBuild == "" {
			x.w.StandsFor.KeepRehearsed(ctx, x.w.Machine.Tree, s.ID, s.Target)
		}
	}
}

// keepLog keeps the log of a failed build, and names the log in the error.
func keepLog(stage *machine.Machine, dir string, s machine.Subject, err error) error {
	if isolationFailed(err) {
		return err // nothing has run
	}
	log := filepath.Join(dir, s.Name+"-"+s.Version+"-"+s.Kernel+".log")
	if os.Rename(stage.Tree.ScratchLog(s.ID), log) != nil {
		return err
	}
	text := err.Error()
	for _, t := range []*tree.Tree{stage.Tree, stage.StandsFor} { // where a build that is not confined is seen, and where others are
		text = strings.ReplaceAll(text, t.ScratchDir(s.ID)+"/", "")
	}
	return exit.Errorf(exit.Status(err), "%s", text).WithHint("the whole log is in %s", log)
}
