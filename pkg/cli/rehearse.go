package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// rehearseVerb reports whether every module, or one, would build for a kernel.
type rehearseVerb struct {
	place
	dryRun
	anyKernels
	jobs
	jsonOutput
	Headers []string `name:"headers" sep:"none" placeholder:"DIR" help:"Headers of a kernel that need not be installed: a directory, or packages (.deb, .rpm, .pkg.tar.*, .gpkg.tar; repeatable)."`
}

func (*rehearseVerb) about() about {
	return about{
		name: "rehearse", help: "would every module build for a kernel; changes nothing",
		examples: [2]string{"rehearse --headers linux-headers-6.1.0-57-amd64_6.1.193-1_amd64.deb", "rehearse ./hello-1.0 -k 6.1.0-57-amd64"},
	}
}

// Run reports whether every module, or one, would build for a kernel.
func (v *rehearseVerb) Run(c *call) error {
	w, err := v.find(c.host)
	if err != nil {
		return err
	}
	return c.do(v.jobs, false, func(m *machine.Machine) (exit.Code, error) {
		return run.Rehearse(c.ctx, m, run.Rehearsing{
			Named: run.Named{Name: w.name, Version: w.version, Source: w.dir}, Choice: v.choice(), Headers: v.Headers, JSON: v.JSON,
		}, run.Options{DryRun: v.DryRun})
	})
}
