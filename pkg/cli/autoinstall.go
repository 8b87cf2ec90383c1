package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// autoinstallVerb installs every module that is missing for a kernel.
type autoinstallVerb struct {
	byRoot
	anyKernels
	forced
	jobs
	signing
	installing
	jsonOutput
}

func (*autoinstallVerb) about() about {
	return about{
		name: "autoinstall", original: true, everyday: true, help: "install everything that is missing",
		examples: [2]string{"autoinstall", "autoinstall --dry-run -k 6.1.0-57-amd64"},
		needs:    "root", instead: "install", events: true,
	}
}

// Run installs every module that is missing for a kernel.
func (v *autoinstallVerb) Run(c *call) error {
	return c.doSigned(v.jobs, v.SymlinkModules, v.signing, func(m *machine.Machine) (exit.Code, error) {
		return run.Autoinstall(c.ctx, m, v.choice(), v.options(v.DryRun, v.Force, false), false)
	})
}
