package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// matchVerb installs for one kernel the modules that another kernel has.
type matchVerb struct {
	named
	byRoot
	kernels
	forced
	jobs
	installing
	Templatekernel string `placeholder:"RELEASE" help:"Kernel whose modules match installs."`
}

func (*matchVerb) about() about {
	return about{
		name: "match", original: true, help: "install for a kernel what another has",
		examples: [2]string{"match --templatekernel 6.1.0-56-amd64 -k 6.1.0-57-amd64", "match --templatekernel 6.1.0-56-amd64 hello"},
		needs:    "root",
	}
}

// Run installs for one kernel the modules that another kernel has.
func (v *matchVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.do(v.jobs, v.SymlinkModules, func(on *machine.Machine) (exit.Code, error) {
		return run.Match(c.ctx, on, m.name, v.Templatekernel, v.choice(), v.options(v.DryRun, v.Force, false))
	})
}
