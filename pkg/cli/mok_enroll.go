package cli

import (
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// mokEnrollVerb requests trust for the certificate from the next boot on.
type mokEnrollVerb struct {
	byRoot
	kernels
	PasswordFile string `name:"password-file" placeholder:"FILE" help:"File with the password to confirm with."`
	HashFile     string `name:"hash-file" placeholder:"FILE" help:"File with its hash, as mokutil makes it."`
}

func (*mokEnrollVerb) about() about {
	return about{
		running: true, name: "mok enroll", help: "have the signing key trusted, from the next start on",
		examples: [2]string{"mok enroll", "mok enroll --password-file /root/password"},
		needs:    "root",
	}
}

// Run requests trust for the certificate from the next boot on.
func (v *mokEnrollVerb) Run(c *call) error {
	return c.tell(func(m *machine.Machine) (exit.Code, error) {
		return exit.OK, run.Enroll(c.ctx, m, v.choice(), run.Enrolment{
			PasswordFile: v.PasswordFile, HashFile: v.HashFile, Input: c.process.In, Prompt: c.process.Err,
		}, v.DryRun)
	})
}
