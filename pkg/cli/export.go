package cli

import (
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/fleet"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// exportVerb writes builds as an image or as packages.
type exportVerb struct {
	modules
	byRoot
	kernels
	archived
	forced
	jsonOutput
	Format   string   `name:"format" placeholder:"FORMAT" help:"oci (a directory), tar, sysext, deb, rpm, pacman or apk."`
	Busybox  string   `name:"busybox" placeholder:"FILE" help:"Static busybox for the image, or none."`
	Packager string   `name:"packager" placeholder:"NAME" help:"Who answers for the package."`
	Depends  []string `name:"depends" sep:"none" placeholder:"PACKAGE" help:"What the package depends on, instead of the kernel's package (repeatable)."`
	Names    []string `arg:"" optional:"" name:"module/version" help:"The modules."`
}

func (*exportVerb) about() about {
	return about{
		name: "export", help: "write builds for a kernel as an image, packages or an extension",
		examples: [2]string{"export hello/1.0 -k 6.1.0-56-amd64", "export hello --format deb -k 6.1.0-56-amd64"},
		needs:    "root",
	}
}

// Run writes builds as an image or as packages.
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
			Packager: v.Packager, Depends: v.Depends,
			Force: v.Force, DryRun: v.DryRun, JSON: v.JSON,
		})
	})
}
