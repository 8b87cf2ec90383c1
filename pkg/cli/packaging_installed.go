package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
	"dkms/pkg/tree"
)

// packagingInstalledVerb is only for the scripts of packages, see packaging.md.
type packagingInstalledVerb struct {
	byRoot
	Words []string `arg:"" optional:"" name:"name version tarball_dir arch upgraded_from | -" help:"The arguments of common.postinst, or - for paths on the standard input."`
}

func (*packagingInstalledVerb) about() about {
	return about{
		name: "packaging-installed", hidden: true, help: "add and install what a package has brought",
		examples: [2]string{"packaging-installed hello 1.0", "packaging-installed -"},
		needs:    "root",
	}
}

// Run adds and installs the modules that a package or a transaction has
// brought.
func (v *packagingInstalledVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		if len(v.Words) == 1 && v.Words[0] == "-" {
			return run.PathsInstalled(c.ctx, m, c.process.In)
		}
		return run.PackageInstalled(c.ctx, m, run.Package{
			ID: tree.ID{Name: word(v.Words, 0), Version: word(v.Words, 1)}, TarballDir: word(v.Words, 2), Arch: word(v.Words, 3), UpgradedFrom: word(v.Words, 4),
		})
	})
}

// word returns the word at index i, or "".
func word(words []string, i int) string {
	if i >= len(words) {
		return ""
	}
	return words[i]
}
