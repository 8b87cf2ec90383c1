package cli

import (
	"dkms/pkg/engine"
)

// whyVerb tells why a module is, or is not, installed.
type whyVerb struct {
	named
	kernels
	dryAnyway
	jsonOutput
}

func (*whyVerb) about() about {
	return about{
		name: "why", everyday: true, help: "why a module is, or is not, installed for a kernel",
		examples: [2]string{"why hello", "why hello/1.0 -k 6.1.0-57-amd64"},
	}
}

// Run tells why a module is, or is not, installed.
func (v *whyVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(engine.Request{Verb: engine.Why, Name: m.name, Version: m.version, Kernels: v.Kernelver, Arches: v.Arch, JSON: v.JSON})
}
