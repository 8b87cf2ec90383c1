package cli

import (
	"dkms/pkg/engine"
)

// buildVerb builds a module, adding it first where it is not registered.
type buildVerb struct {
	sources
	kernels
	dryRun
	forced
	safeUpgrade
	jobs
}

func (*buildVerb) about() about {
	return about{
		name: "build", original: true, help: "build a module for a kernel",
		examples: [2]string{"build hello/1.0", "build hello/1.0 -k 6.1.0-56-amd64 --force"},
		needs:    "root for a directory, which is copied to the source tree",
	}
}

// Run builds a module, adding it first where it is not registered.
func (v *buildVerb) Run(c *call) error {
	s, err := v.find(c.host)
	if err != nil {
		return err
	}
	if s.dir != "" && !v.DryRun {
		if err := c.root(); err != nil {
			return err
		}
	}
	return c.do(v.jobs, false, engine.Request{
		Verb: engine.Build, Name: s.name, Version: s.version, Source: s.dir, Archive: s.archive, Input: c.process.In,
		Kernels: v.Kernelver, Arches: v.Arch, Conf: v.Conf, DryRun: v.DryRun, Force: v.Force, SafeUpgrade: v.RpmSafeUpgrade,
	})
}
