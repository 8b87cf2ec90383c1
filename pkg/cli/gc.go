package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// gcVerb removes what nothing needs any more.
type gcVerb struct {
	dryAnyway
	indexing
	Keep int  `name:"keep" default:"1" placeholder:"N" help:"How many of the newest versions of each module stay (1)."`
	Yes  bool `name:"yes" short:"y" help:"Remove it; without, only say what would be removed."`
}

func (*gcVerb) about() about {
	return about{
		name: "gc", help: "remove old versions, and builds for kernels that are gone",
		examples: [2]string{"gc", "gc --keep 2 --yes"},
		needs:    "root, with --yes",
	}
}

func (v *gcVerb) needsRoot() bool { return v.Yes && !v.DryRun }

// Run removes what nothing needs any more.
func (v *gcVerb) Run(c *call) error {
	if v.Keep < 1 {
		return exit.Errorf(exit.Usage, "--keep %d: at least the newest version stays", v.Keep).WithHint("dkms remove NAME/VERSION --all removes any version")
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return run.GC(c.ctx, m, v.Keep, run.Options{DryRun: !v.Yes || v.DryRun, NoDepmod: v.NoDepmod})
	})
}
