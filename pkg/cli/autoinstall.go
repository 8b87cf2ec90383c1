package cli

import (
	"dkms/pkg/engine"
)

// autoinstallVerb installs every module that is missing for a kernel.
type autoinstallVerb struct {
	byRoot
	kernels
	forced
	jobs
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
	return c.do(v.jobs, v.SymlinkModules, engine.Request{
		Verb: engine.Autoinstall, Kernels: v.Kernelver, Arches: v.Arch, DryRun: v.DryRun, Force: v.Force, JSON: v.JSON,
		ForceVersion: v.ForceVersionOverride, NoDepmod: v.NoDepmod, Modprobe: v.ModprobeOnInstall,
	})
}
