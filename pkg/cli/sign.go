package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// signVerb signs what is built with the key in use now.
type signVerb struct {
	named
	byRoot
	kernels
	allKernels
	indexing
}

func (*signVerb) about() about {
	return about{
		name: "sign", help: "sign what is built with the key in use now",
		examples: [2]string{"sign", "sign hello/1.0 -k 6.1.0-56-amd64"},
		needs:    "root",
	}
}

// Run signs what is built with the key in use now.
func (v *signVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	mode := signing{}
	if c.host.Image { // a key of the image would be in the hands of everybody who has it
		mode.Sign = string(machine.SignHostKey)
	}
	return c.doSigned(jobs{}, false, mode, func(on *machine.Machine) (exit.Code, error) {
		return run.Sign(c.ctx, on, run.Named{Name: m.name, Version: m.version}, v.choice(), run.Options{DryRun: v.DryRun, NoDepmod: v.NoDepmod})
	})
}
