package cli

import (
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/fleet"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// exportVerb writes builds as an OCI image.
type exportVerb struct {
	modules
	byRoot
	kernels
	archived
	forced
	jsonOutput
	Format  string   `name:"format" placeholder:"FORMAT" help:"oci, a directory, or tar."`
	Busybox string   `name:"busybox" placeholder:"FILE" help:"Static busybox for the image, or none."`
	Names   []string `arg:"" optional:"" name:"module/version" help:"The modules."`
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
	names := v.Names
	if m.name != "" {
		names = append([]string{strings.TrimSuffix(m.name+"/"+m.version, "/")}, names...)
	}
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return exit.OK, run.Export(c.ctx, m, fleet.Export{
			Modules: names, Choice: v.choice(), Path: v.Archive, Format: v.Format, Busybox: v.Busybox,
			Force: v.Force, DryRun: v.DryRun, JSON: v.JSON,
		})
	})
}
