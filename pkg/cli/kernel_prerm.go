package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// kernelPrermVerb deletes the builds for a kernel that is about to be removed.
type kernelPrermVerb struct {
	byRoot
	kernels
	indexing
}

func (*kernelPrermVerb) about() about {
	return about{
		name: "kernel_prerm", original: true, help: "drop builds before a kernel is removed",
		examples: [2]string{"kernel_prerm -k 6.1.0-56-amd64", "kernel_prerm -k 6.1.0-56-amd64 --dry-run"},
		needs:    "root", instead: "unbuild",
	}
}

// Run deletes the builds for a kernel that is about to be removed.
func (v *kernelPrermVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return run.KernelPrerm(c.ctx, m, v.choice(), run.Options{DryRun: v.DryRun, NoDepmod: v.NoDepmod})
	})
}
