package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/plan"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// resign signs what is built with the key in use now, after that has changed:
// one module, or all of them, for the named kernels or all.
func (e *Engine) resign(ctx context.Context, req *Request) (code exit.Code, err error) {
	err = e.locking(ctx, req, func() error {
		subjects, err := e.signSubjects(req)
		if err != nil {
			return err
		}
		name, err := e.signerName(ctx, subjects, req.DryRun)
		if err != nil {
			return err
		}
		p := plan.ForSign(subjects, name)
		r, err := e.carryOut(ctx, req, p, map[subject]conf.Result{})
		if err != nil {
			return err
		}
		code = r.first(p)
		return nil
	})
	return code, err
}

// signerName is who signs now.
func (e *Engine) signerName(ctx context.Context, subjects []plan.Subject, dry bool) (string, error) {
	if len(subjects) == 0 {
		return "", nil
	}
	signer, err := e.openSigner(ctx, subjects[0].Target, dry)
	switch {
	case errors.Is(err, errNoPair):
		return "a new key", nil
	case err != nil:
		return "", err
	case signer == nil:
		return "", exit.Errorf(exit.Usage, "modules are not signed on this machine").
			WithHint("dkms mok status says why; try_sign_modules in framework.conf decides")
	}
	return signer.Name(), nil
}

// signSubjects are the builds that a request to sign is about.
func (e *Engine) signSubjects(req *Request) ([]plan.Subject, error) {
	all, err := e.tree.All()
	if err != nil {
		return nil, err
	}
	filters := []tree.Target{{}}
	if len(req.Kernels)+len(req.Arches) > 0 {
		filters = e.filters(req)
	}
	var list []plan.Subject
	for _, v := range all {
		if !matches(req.Name, v.ID.Name) || !matches(req.Version, v.ID.Version) {
			continue
		}
		for _, b := range v.Builds {
			for _, f := range filters {
				if matches(f.Kernel, b.Kernel) && matches(f.Arch, b.Arch) {
					list = append(list, plan.Subject{ID: v.ID, Target: b.Target, Built: true, Installed: b.Installed})
				}
			}
		}
	}
	if req.Name != "" && len(list) == 0 {
		return nil, exit.Errorf(exit.NotAdded, "nothing is built of %s", strings.TrimSuffix(req.Name+"/"+req.Version, "/")).
			WithHint("dkms status lists what is")
	}
	return list, nil
}

// sign signs one build again and puts the result over what is installed of it.
func (r *run) sign(ctx context.Context, sub subject) error {
	signer, err := r.signer(ctx, sub.Target)
	if err != nil {
		return fmt.Errorf("%s: %w", sub.ID, err)
	}
	if signer == nil {
		return exit.Errorf(exit.Usage, "%s: modules for %s are not signed here", sub.ID, sub.Target)
	}
	b := build.Builder{Host: r.host, Tree: r.tree, Run: r.Engine.run, Report: r.report, Framework: r.framework}
	undo, done, err := b.Resign(ctx, build.Job{ID: sub.ID, Kernel: r.kernel(sub.Target), Signer: signer})
	if err != nil {
		return err
	}
	if !r.tree.IsInstalled(sub.ID, sub.Target) {
		return done()
	}
	if err := r.tree.MarkPending(sub.Target); err != nil {
		return errors.Join(err, undo())
	}
	r.stale(sub.Target)
	changed, err := r.installer.Refresh(sub.ID, sub.Target)
	if err != nil && !changed {
		return errors.Join(err, undo())
	}
	return errors.Join(err, done())
}

// mok tells of the signing key and of what this machine thinks of it, or
// enrols its certificate.
func (e *Engine) mok(ctx context.Context, req *Request) (exit.Code, error) {
	targets, err := e.targets(req, e.running)
	if err != nil {
		return 0, err
	}
	options, err := e.reader.Signing(ctx, targets[0].Kernel)
	if err != nil {
		return 0, err
	}
	pair, err := e.findPair(targets[0], options)
	if err != nil {
		return 0, err
	}
	if _, have := pair.Exists(); !have {
		e.report.Result("Certificate: none (" + pair.CertPath + ")")
		trust, _ := sign.Inspect(e.host.Root, nil, e.kernel(targets[0]).Config().Get)
		e.machine(trust)
		if !trust.Enforced() && req.Action == "status" {
			return exit.OK, nil
		}
		return 0, exit.Errorf(exit.Usage, "there is no certificate to sign with").WithHint("dkms generate_mok makes a key and its certificate")
	}
	cert, err := sign.ReadCertificate(pair.CertPath)
	if err != nil {
		return 0, err
	}
	trust, err := sign.Inspect(e.host.Root, cert, e.kernel(targets[0]).Config().Get)
	if err != nil {
		e.report.Detailf("%v", err)
	}
	if req.Action == "enroll" {
		return exit.OK, e.enroll(ctx, req, pair, trust)
	}
	e.report.Result("Signing key: " + pair.KeyPath + " (" + pair.Origin + ")")
	e.report.Result("Certificate: " + pair.CertPath)
	e.report.Result("Subject: " + cert.Subject.CommonName)
	e.report.Result("Valid until: " + cert.NotAfter.UTC().Format("2006-01-02"))
	e.machine(trust)
	return e.verdict(pair, trust), nil
}

// machine prints how the machine treats signatures.
func (e *Engine) machine(t *sign.Trust) {
	firmware := "no"
	if t.EFI {
		firmware = "yes"
	}
	e.report.Result("UEFI: " + firmware)
	e.report.Result("Secure Boot: " + t.SecureBoot.String())
	if t.Lockdown != "" {
		e.report.Result("Lockdown: " + t.Lockdown)
	}
	if t.Enforced() {
		e.report.Result("Module signatures: required")
	} else {
		e.report.Result("Module signatures: not required")
	}
}

// verdict prints where the certificate is known and whether that is enough.
func (e *Engine) verdict(pair sign.Pair, t *sign.Trust) exit.Code {
	places := t.Keyrings
	if t.MOK {
		places = append(places, "machine owner keys (MokList)")
	}
	if t.DB {
		places = append(places, "firmware (db)")
	}
	if t.Pending {
		places = append(places, "waiting for confirmation at the next start (MokNew)")
	}
	if len(places) == 0 {
		places = []string{"nowhere"}
	}
	e.report.Result("Certificate is known to: " + strings.Join(places, ", "))
	switch {
	case t.Trusted():
		e.report.Result("Verdict: modules signed with this key load")
		return exit.OK
	case !t.Enforced():
		e.report.Result("Verdict: modules load, and taint the kernel: this key is not trusted")
		return exit.OK
	}
	e.report.Result("Verdict: modules signed with this key are refused")
	e.report.Error(exit.Errorf(exit.Usage, "the kernel does not trust %s", pair.CertPath).WithHint("dkms mok enroll"))
	return exit.Usage
}

// enroll asks shim, by mokutil, to enrol the certificate at the next start,
// once: what is enrolled or asked for already is left alone.
func (e *Engine) enroll(ctx context.Context, req *Request, pair sign.Pair, t *sign.Trust) error {
	switch {
	case t.MOK || t.DB:
		e.report.Progressf("%s is enrolled already", pair.CertPath)
		return nil
	case t.Pending:
		e.report.Progressf("%s waits already: confirm it in the blue screen at the next start", pair.CertPath)
		return nil
	case !t.EFI:
		return exit.Errorf(exit.Usage, "this machine was not started by UEFI firmware: there is nowhere to enrol a key")
	case req.DryRun:
		e.report.Result("would ask mokutil to enrol " + pair.CertPath + ": the machine does not know it")
		return nil
	}
	cmd := system.Cmd{Argv: []string{"mokutil", "--import", pair.CertPath}, Stdout: os.Stderr, Stderr: os.Stderr}
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
	default:
		cmd.Stdin = req.Input
	}
	if err := e.run.Run(ctx, cmd); err != nil {
		return exit.Errorf(exit.Usage, "%s is not enrolled: %w", pair.CertPath, err)
	}
	e.report.Progressf("%s: confirm the enrolment in the blue screen at the next start, with the password just given", pair.CertPath)
	return nil
}
