package cli

import (
	"runtime"
	"strings"

	"dkms/pkg/build"
)

// versionVerb reports which DKMS interface the program has, and how it was
// built.
type versionVerb struct {
	dryAnyway
	jsonOutput
}

func (*versionVerb) about() about {
	return about{
		name: "version", help: "which dkms this is",
		examples: [2]string{"version", "version --json"},
	}
}

// Run prints the same as --version, or a JSON object.
func (v *versionVerb) Run(c *call) error {
	if !v.JSON {
		c.report.Result(build.Release)
		return nil
	}
	return c.report.JSON(struct {
		Schema       int    `json:"schema"`
		Interface    string `json:"interface"`
		Compiler     string `json:"compiler"`
		Architecture string `json:"architecture"`
	}{1, strings.TrimPrefix(build.Release, "dkms-"), runtime.Version(), runtime.GOARCH})
}
