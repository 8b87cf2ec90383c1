package run

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"os"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Enrolment says how `dkms mok enroll` gets the password that confirms the
// enrolment.
type Enrolment struct {
	// PasswordFile holds the password, and HashFile its hash as mokutil makes
	// it.
	PasswordFile, HashFile string
	// Input and Prompt are the terminal to ask at, if there is no file.
	Input  io.Reader
	Prompt io.Writer
}

// Enroll asks shim, through mokutil, to enrol the certificate in use at the
// next boot. A certificate that is already enrolled or requested is left alone.
func Enroll(ctx context.Context, m *machine.Machine, choice machine.Choice, e Enrolment, dry bool) error {
	targets, err := m.Targets(choice, m.Running)
	if err != nil {
		return err
	}
	pair, cert, err := m.Certificate(ctx, targets[0])
	switch {
	case err != nil:
		return err
	case cert == nil:
		return exit.Errorf(exit.Usage, "%s: no such file, there is no certificate to enrol", pair.CertPath).
			WithHint("dkms generate_mok makes a key and its certificate")
	}
	return e.enroll(ctx, m, targets[0], pair, cert, dry)
}

func (e Enrolment) enroll(ctx context.Context, m *machine.Machine, t tree.Target, pair sign.Pair, cert *x509.Certificate, dry bool) error {
	if _, err := pair.Settled(); err != nil {
		return err
	}
	trust := m.Trust(t, cert)
	switch {
	case trust.Revoked:
		return exit.Errorf(exit.Usage, "%s: the firmware or shim has revoked this certificate", pair.CertPath).
			WithHint("move %s and %s away, then: dkms generate_mok; dkms mok enroll; dkms sign", pair.KeyPath, pair.CertPath)
	case trust.MOK || trust.DB:
		if !trust.Trusted() && trust.Enforced() {
			say(m, machine.Distrust(trust, cert), trust)
			return nil
		}
		m.Report.Progressf("%s is enrolled already", pair.CertPath)
		return nil
	case trust.Pending:
		say(m, pair.CertPath+" waits already: it is confirmed at the next start, before Linux runs", trust)
		return nil
	case trust.Trusted():
		m.Report.Progressf("%s needs no enrolment: the kernel trusts it (%s)", pair.CertPath, strings.Join(trust.Keyrings, ", "))
		return nil
	case !trust.EFI:
		return exit.Errorf(exit.Usage, "this machine was not started by UEFI firmware: there is nowhere to enrol a key")
	case dry:
		would(m, "ask mokutil to enrol %s: the machine does not know it", pair.CertPath)
		return nil
	}
	if err := e.mokutil(ctx, m, pair, cert); err != nil {
		return err
	}
	// mokutil reports success for certificates that it skips.
	if trust = m.Trust(t, cert); !trust.Pending {
		return exit.Errorf(exit.Usage, "%s: mokutil has not asked for its enrolment", pair.CertPath).
			WithHint("mokutil --import %s says why", pair.CertPath)
	}
	say(m, pair.CertPath+": the enrolment was asked for, and is confirmed at the next start, before Linux runs; if the blue screen is passed over, ask again", trust)
	return nil
}

// say reports a pending enrolment and the next step.
func say(m *machine.Machine, text string, t *sign.Trust) {
	m.Report.Emit(report.Event{Kind: report.Progress, Text: text, Err: exit.Errorf(exit.OK, "waiting").WithHint("%s", machine.EnrolHint(t))})
}

// mokutil runs mokutil to import the certificate.
func (e Enrolment) mokutil(ctx context.Context, m *machine.Machine, pair sign.Pair, cert *x509.Certificate) error {
	if !m.Run.Has("mokutil") {
		return exit.Errorf(exit.Usage, "%s is not enrolled: mokutil is missing", pair.CertPath).WithHint("install mokutil")
	}
	file, remove, err := asDER(m, pair.CertPath, cert)
	if err != nil {
		return err
	}
	defer remove()
	var said bytes.Buffer
	cmd := system.Cmd{Argv: []string{"mokutil", "--import", file}, Stdout: &said, Stderr: &said}
	if err := e.password(m, &cmd); err != nil {
		return err
	}
	if err := m.Run.Run(ctx, cmd); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			return exit.Errorf(exit.Usage, "%s is not enrolled: %w\n%s", pair.CertPath, err, text)
		}
		return exit.Errorf(exit.Usage, "%s is not enrolled: %w", pair.CertPath, err)
	}
	return nil
}

// password arranges how mokutil gets the password: as a hash, from a file that
// is read twice, or from the person at the terminal.
func (e Enrolment) password(m *machine.Machine, cmd *system.Cmd) error {
	switch {
	case e.HashFile != "":
		cmd.Argv = append(cmd.Argv, "--hash-file", m.Host.Abs(e.HashFile))
	case e.PasswordFile != "":
		data, err := os.ReadFile(m.Host.Abs(e.PasswordFile))
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(data), "\n")
		if line == "" {
			return exit.Errorf(exit.Usage, "%s: holds no password", e.PasswordFile)
		}
		cmd.Stdin = strings.NewReader(line + "\n" + line + "\n")
	case system.IsTerminal(e.Input):
		m.Report.Progressf("choose a password of 8 to 16 letters or digits: the blue screen asks for it once, at the next start, to see that it is you who enrols the key")
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Terminal = e.Input, e.Prompt, e.Prompt, true
	default:
		return exit.Errorf(exit.Usage, "there is no terminal to ask for the password at").
			WithHint("give it with --password-file or --hash-file")
	}
	return nil
}

// asDER is the path of a certificate in the form that mokutil reads: the file
// itself if it has that form, or else a copy, which remove deletes.
func asDER(m *machine.Machine, path string, cert *x509.Certificate) (file string, remove func(), err error) {
	data, err := os.ReadFile(path)
	if err != nil || bytes.Equal(data, cert.Raw) {
		return path, func() {}, err
	}
	f, err := os.CreateTemp(m.Framework.TmpLocation, "dkms.*.der")
	if err != nil {
		return "", nil, err
	}
	remove = func() { os.Remove(f.Name()) }
	if _, err = f.Write(cert.Raw); err == nil {
		err = f.Close()
	}
	if err != nil {
		remove()
	}
	return f.Name(), remove, err
}
