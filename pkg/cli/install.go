package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// installVerb installs a module, and first builds one without a build.
type installVerb struct {
	sources
	anyKernels
	byRoot
	forced
	safeUpgrade
	jobs
	signing
	installing
}

func (*installVerb) about() about {
	return about{
		name: "install", original: true, everyday: true, help: "build and install a module",
		examples: [2]string{"install ./hello-1.0", "install --dry-run hello/1.0 -k 6.1.0-56-rt-amd64"},
		needs:    "root",
	}
}

// Run installs a module, and first builds one without a build.
func (v *installVerb) Run(c *call) error {
	s, err := v.find(c.host)
	if err != nil {
		return err
	}
	return c.doSigned(v.jobs, v.SymlinkModules, v.signing, func(m *machine.Machine) (exit.Code, error) {
		return run.Install(c.ctx, m, s.named(c, v.Conf), v.choice(), v.options(v.DryRun, v.Force, v.RpmSafeUpgrade))
	})
}
