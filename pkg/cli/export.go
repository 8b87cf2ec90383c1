package cli

import (
	"dkms/pkg/engine"
)

// exportVerb writes builds as an OCI image.
type exportVerb struct {
	modules
	byRoot
	kernels
	archived
	forced
	jsonOutput
	Format  string   `kong:"name='format',placeholder='FORMAT'" help:"oci, a directory, or tar."`
	Busybox string   `kong:"name='busybox',placeholder='FILE'" help:"Static busybox for the image, or none."`
	Names   []string `kong:"arg,optional,name='module/version'" help:"The modules."`
}

func (*exportVerb) about() about {
	return about{
		name: "export", help: "write builds for a kernel as an OCI image",
		examples: [2]string{"export hello/1.0 -k 6.1.0-56-amd64", "export hello --format tar --archive hello.tar"},
		needs:    "root",
	}
}

// Run writes builds as an OCI image.
func (v *exportVerb) Run(c *call) error {
	m, err := v.with("")
	if err != nil {
		return err
	}
	others := v.Names
	if m.name == "" && len(others) > 0 {
		m.set(others[0])
		others = others[1:]
	}
	return c.tell(engine.Request{
		Verb: engine.Export, Name: m.name, Version: m.version, Others: others, Kernels: v.Kernelver, Arches: v.Arch,
		Archive: v.Archive, Format: v.Format, Busybox: v.Busybox, Force: v.Force, DryRun: v.DryRun, JSON: v.JSON,
	})
}
