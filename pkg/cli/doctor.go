package cli

import (
	"dkms/pkg/engine"
)

// doctorVerb looks for what goes wrong with modules.
type doctorVerb struct {
	dryRun
	kernels
	forced
	jobs
	jsonOutput
	Fix bool `kong:"name='fix'" help:"Do what is safe."`
}

func (*doctorVerb) about() about {
	return about{
		name: "doctor", everyday: true, help: "look for what is wrong, and say what cures it",
		examples: [2]string{"doctor", "doctor --fix"},
		needs:    "root for --fix", instead: "why",
	}
}

func (v *doctorVerb) needsRoot() bool { return v.Fix && !v.DryRun }

// Run looks for what goes wrong with modules.
func (v *doctorVerb) Run(c *call) error {
	return c.do(v.jobs, false, engine.Request{
		Verb: engine.Doctor, Kernels: v.Kernelver, Arches: v.Arch, Fix: v.Fix, Force: v.Force, DryRun: v.DryRun, JSON: v.JSON,
	})
}
