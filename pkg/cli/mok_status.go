package cli

import (
	"dkms/pkg/engine"
)

// mokStatusVerb tells of the signing key and who trusts it.
type mokStatusVerb struct {
	kernels
	dryAnyway
	jsonOutput
}

func (*mokStatusVerb) about() about {
	return about{
		name: "mok status", help: "is that key trusted here",
		examples: [2]string{"mok status", "mok status --json"},
	}
}

// Run tells of the signing key and who trusts it.
func (v *mokStatusVerb) Run(c *call) error {
	return c.tell(engine.Request{Verb: engine.MOK, Action: "status", Kernels: v.Kernelver, Arches: v.Arch, JSON: v.JSON})
}
