package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// buildVerb builds a module, and first adds one that is not registered.
type buildVerb struct {
	sources
	anyKernels
	dryRun
	forced
	safeUpgrade
	jobs
	signing
}

func (*buildVerb) about() about {
	return about{
		name: "build", original: true, help: "build a module for a kernel",
		examples: [2]string{"build hello/1.0", "build hello/1.0 -k 6.1.0-56-amd64 --force"},
		needs:    "root for a directory, which is copied to the source tree",
	}
}

// Run builds a module, and first adds one that is not registered.
func (v *buildVerb) Run(c *call) error {
	s, err := v.findByRoot(c, v.DryRun)
	if err != nil {
		return err
	}
	return c.doSigned(v.jobs, false, v.signing, func(m *machine.Machine) (exit.Code, error) {
		return run.Build(c.ctx, m, s.named(c, v.Conf), v.choice(), run.Options{DryRun: v.DryRun, Force: v.Force, SafeUpgrade: v.RpmSafeUpgrade})
	})
}
