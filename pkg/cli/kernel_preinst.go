package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// kernelPreinstVerb deletes the builds for a kernel that is about to be
// replaced.
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

// Run deletes the builds for a kernel that is about to be replaced.
func (v *kernelPreinstVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return run.KernelPreinst(c.ctx, m, v.choice(), run.Options{DryRun: v.DryRun, NoDepmod: v.NoDepmod})
	})
}
