package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// addVerb registers the sources of a module.
type addVerb struct {
	sources
	kernels
	dryRun
	forced
	safeUpgrade
	jobs
}

func (*addVerb) about() about {
	return about{
		name: "add", original: true, help: "register the sources of a module",
		examples: [2]string{"add ./hello-1.0", "add hello/1.0"},
		needs:    "root for a directory, which is copied to the source tree",
	}
}

// Run registers the sources of a module.
func (v *addVerb) Run(c *call) error {
	s, err := v.findByRoot(c, v.DryRun)
	if err != nil {
		return err
	}
	return c.do(v.jobs, false, func(m *machine.Machine) (exit.Code, error) {
		return exit.OK, run.Add(c.ctx, m, s.named(c, v.Conf), v.choice(), run.Options{DryRun: v.DryRun, Force: v.Force, SafeUpgrade: v.RpmSafeUpgrade})
	})
}
