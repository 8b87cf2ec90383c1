package cli

import (
	"dkms/pkg/engine"
)

// kernelPostinstVerb installs what is missing for a kernel that has just come.
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

// Run installs what is missing for a kernel that has just come.
func (v *kernelPostinstVerb) Run(c *call) error {
	return c.do(v.jobs, v.SymlinkModules, engine.Request{
		Verb: engine.KernelPostinst, Kernels: v.Kernelver, Arches: v.Arch, DryRun: v.DryRun, Force: v.Force, JSON: v.JSON,
		ForceVersion: v.ForceVersionOverride, NoDepmod: v.NoDepmod, Modprobe: v.ModprobeOnInstall,
	})
}
