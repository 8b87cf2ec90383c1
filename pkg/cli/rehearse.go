package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// rehearseVerb reports whether every module would build for a kernel.
type rehearseVerb struct {
	dryRun
	anyKernels
	jobs
	jsonOutput
	Headers string `kong:"name='headers',placeholder='DIR'" help:"The same as --kernelsourcedir: headers, of a kernel that need not be installed."`
}

func (*rehearseVerb) about() about {
	return about{
		name: "rehearse", help: "would every module build for a kernel; changes nothing",
		examples: [2]string{"rehearse -k 6.1.0-57-amd64", "rehearse --headers /usr/src/linux-headers-6.1.0-57-amd64"},
		instead:  "build --dry-run",
	}
}

// Run reports whether every module would build for a kernel.
func (v *rehearseVerb) Run(c *call) error {
	s, err := c.settings(v.jobs, false)
	if err != nil {
		return err
	}
	if v.Headers != "" {
		s.Headers = v.Headers
	}
	return c.with(s, func(m *machine.Machine) (exit.Code, error) {
		return run.Rehearse(c.ctx, m, v.choice(), v.JSON, run.Options{DryRun: v.DryRun})
	})
}
