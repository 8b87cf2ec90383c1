package cli

import (
	"dkms/pkg/engine"
)

// statusVerb lists modules, builds and installations.
type statusVerb struct {
	named
	kernels
	dryAnyway
	jsonOutput
	ignoresAll
}

func (*statusVerb) about() about {
	return about{
		name: "status", original: true, everyday: true, help: "list modules, builds and installations",
		examples: [2]string{"status", "status hello -k 6.1.0-56-amd64"},
	}
}

// Run lists modules, builds and installations.
func (v *statusVerb) Run(c *call) error {
	m, err := v.id()
	if err != nil {
		return err
	}
	return c.tell(engine.Request{Verb: engine.Status, Name: m.name, Version: m.version, Kernels: v.Kernelver, Arches: v.Arch, JSON: v.JSON})
}
