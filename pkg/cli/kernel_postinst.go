package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// kernelPostinstVerb installs the missing modules for a kernel that has just
// been installed.
type kernelPostinstVerb struct {
	byRoot
	kernels
	forced
	jobs
	installing
	jsonOutput
}

func (*kernelPostinstVerb) about() about {
	return about{
		name: "kernel_postinst", original: true, help: "autoinstall for a kernel just installed",
		examples: [2]string{"kernel_postinst -k 6.1.0-57-amd64", "kernel_postinst -k 6.1.0-57-amd64 --dry-run"},
		needs:    "root", instead: "install", events: true,
	}
}

// Run installs the missing modules for a kernel that has just been installed.
func (v *kernelPostinstVerb) Run(c *call) error {
	return c.do(v.jobs, v.SymlinkModules, func(m *machine.Machine) (exit.Code, error) {
		return run.Autoinstall(c.ctx, m, v.choice(), v.options(v.DryRun, v.Force, false), true)
	})
}
