package cli

import (
	"dkms/pkg/engine"
)

// kernelPreinstVerb drops what was built for a kernel that is about to be replaced.
type kernelPreinstVerb struct {
	byRoot
	kernels
	indexing
}

func (*kernelPreinstVerb) about() about {
	return about{
		name: "kernel_preinst", original: true, help: "drop builds before a kernel is replaced",
		examples: [2]string{"kernel_preinst -k 6.1.0-56-amd64", "kernel_preinst -k 6.1.0-56-amd64 --dry-run"},
		needs:    "root", instead: "unbuild",
	}
}

// Run drops what was built for a kernel that is about to be replaced.
func (v *kernelPreinstVerb) Run(c *call) error {
	return c.tell(engine.Request{
		Verb: engine.KernelPreinst, Kernels: v.Kernelver, Arches: v.Arch, NoDepmod: v.NoDepmod, DryRun: v.DryRun,
	})
}
