package engine

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// enroll asks shim, by mokutil, to enrol the certificate at the next start,
// once: what is enrolled or asked for already is left alone.
func (e *Engine) enroll(ctx context.Context, req *Request, t tree.Target, pair sign.Pair, cert *x509.Certificate) error {
	if _, err := pair.Settled(); err != nil {
		return err
	}
	trust := e.trust(t, cert)
	switch {
	case trust.Revoked:
		return exit.Errorf(exit.Usage, "%s: the firmware or shim has revoked this certificate", pair.CertPath).
			WithHint("move %s and %s away, then: dkms generate_mok; dkms mok enroll; dkms sign", pair.KeyPath, pair.CertPath)
	case trust.MOK || trust.DB:
		e.report.Progressf("%s is enrolled already", pair.CertPath)
		return nil
	case trust.Pending:
		e.report.Progressf("%s waits already: confirm it in the blue screen at the next start", pair.CertPath)
		return nil
	case trust.Trusted():
		e.report.Progressf("%s needs no enrolment: the kernel trusts it (%s)", pair.CertPath, strings.Join(trust.Keyrings, ", "))
		return nil
	case !trust.EFI:
		return exit.Errorf(exit.Usage, "this machine was not started by UEFI firmware: there is nowhere to enrol a key")
	case req.DryRun:
		e.report.Result("would ask mokutil to enrol " + pair.CertPath + ": the machine does not know it")
		return nil
	}
	if err := e.mokutil(ctx, req, pair, cert); err != nil {
		return err
	}
	// mokutil counts what it passes over as done.
	if trust = e.trust(t, cert); !trust.Pending {
		return exit.Errorf(exit.Usage, "%s: mokutil has not asked for its enrolment", pair.CertPath).
			WithHint("mokutil --import %s says why", pair.CertPath)
	}
	e.report.Progressf("%s: confirm the enrolment in the blue screen at the next start, with the password just given", pair.CertPath)
	return nil
}

// mokutil has the program of that name import the certificate.
func (e *Engine) mokutil(ctx context.Context, req *Request, pair sign.Pair, cert *x509.Certificate) error {
	if !e.run.Has("mokutil") {
		return exit.Errorf(exit.Usage, "%s is not enrolled: mokutil is missing", pair.CertPath).WithHint("install mokutil")
	}
	file, remove, err := e.asDER(pair.CertPath, cert)
	if err != nil {
		return err
	}
	defer remove()
	var said bytes.Buffer
	cmd := system.Cmd{Argv: []string{"mokutil", "--import", file}, Stdout: &said, Stderr: &said}
	if err := e.password(req, &cmd); err != nil {
		return err
	}
	if err := e.run.Run(ctx, cmd); err != nil {
		if text := strings.TrimSpace(said.String()); text != "" {
			return exit.Errorf(exit.Usage, "%s is not enrolled: %w\n%s", pair.CertPath, err, text)
		}
		return exit.Errorf(exit.Usage, "%s is not enrolled: %w", pair.CertPath, err)
	}
	return nil
}

// password arranges for mokutil to get the password: as a hash, twice out of a
// file, or from the person at the terminal.
func (e *Engine) password(req *Request, cmd *system.Cmd) error {
	switch {
	case req.HashFile != "":
		cmd.Argv = append(cmd.Argv, "--hash-file", e.host.Abs(req.HashFile))
	case req.PasswordFile != "":
		data, err := os.ReadFile(e.host.Abs(req.PasswordFile))
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(data), "\n")
		if line == "" {
			return exit.Errorf(exit.Usage, "%s: holds no password", req.PasswordFile)
		}
		cmd.Stdin = strings.NewReader(line + "\n" + line + "\n")
	case system.IsTerminal(req.Input):
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Terminal = req.Input, req.Prompt, req.Prompt, true
	default:
		return exit.Errorf(exit.Usage, "there is no terminal to ask for the password at").
			WithHint("give it with --password-file or --hash-file")
	}
	return nil
}

// asDER is the path of a certificate in the form that mokutil reads: the file
// itself where it is that, or else a copy that remove deletes.
func (e *Engine) asDER(path string, cert *x509.Certificate) (file string, remove func(), err error) {
	data, err := os.ReadFile(path)
	if err != nil || bytes.Equal(data, cert.Raw) {
		return path, func() {}, err
	}
	f, err := os.CreateTemp(e.framework.TmpLocation, "dkms.*.der")
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
