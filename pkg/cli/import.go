package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// importVerb takes over the builds of an image and installs them.
type importVerb struct {
	modules
	byRoot
	kernels
	archived
	forced
	installing
	jsonOutput
	Certificate string   `name:"certificate" placeholder:"FILE" help:"Certificates that builds may be signed with."`
	Insecure    bool     `name:"insecure" help:"From a registry without TLS, or with any certificate."`
	Words       []string `arg:"" optional:"" name:"image" help:"An archive, a directory or docker://REGISTRY/REPOSITORY:TAG; then the module, if not all."`
}

func (*importVerb) about() about {
	return about{
		name: "import", help: "take the builds of an image, and install them",
		examples: [2]string{"import hello.tar --certificate builder.der", "import docker://registry.example.org/drivers:hello hello/1.0"},
		needs:    "root", events: true,
	}
}

// Run takes over the builds of an image and installs them.
func (v *importVerb) Run(c *call) error {
	image, words := v.Archive, v.Words
	if image == "" && len(words) > 0 {
		image, words = words[0], words[1:]
	}
	m, err := v.with("")
	for _, word := range words {
		if err == nil && m.name != "" {
			err = oneModule(word, m.name)
		}
		m.set(word)
	}
	if err != nil {
		return err
	}
	return c.do(jobs{}, v.SymlinkModules, func(on *machine.Machine) (exit.Code, error) {
		return run.Import(c.ctx, on, run.Imported{
			Image: image, Name: m.name, Version: m.version, Choice: v.choice(), Certificate: v.Certificate, Insecure: v.Insecure,
		}, v.options(v.DryRun, v.Force, false))
	})
}
