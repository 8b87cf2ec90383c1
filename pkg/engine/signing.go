package engine

import (
	"context"
	"errors"
	"fmt"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

func asStatus(err error) (exit.Code, bool) {
	if e, ok := errors.AsType[*system.ExitError](err); ok && e.Status > 0 {
		return exit.Code(e.Status), true
	}
	return 0, false
}

// signer is what signs modules for a target; nil means that they are not
// signed, and that this is as it should be or was said.
func (e *Engine) signer(ctx context.Context, t tree.Target) (*sign.Signer, error) {
	key := t.String()
	if s, ok := e.signers[key]; ok {
		return s.signer, s.err
	}
	s, err := e.openSigner(ctx, t, false)
	switch {
	case err != nil:
		s, err = nil, e.unsigned(t, err)
	case s != nil:
		e.checkTrust(t, s)
	}
	e.signers[key] = signing{s, err}
	return s, err
}

// unsigned decides what it means that modules cannot be signed: where the
// kernel would refuse them it is an error, elsewhere a warning.
func (e *Engine) unsigned(t tree.Target, err error) error {
	trust, _ := sign.Inspect(e.host.Root, nil, e.kernel(t).Config().Get)
	if trust.Enforced() {
		return fmt.Errorf("this machine only loads signed modules: %w", err)
	}
	e.report.Warnf("modules are not signed: %v", err)
	if hint := exit.Hint(err); hint != "" {
		e.report.Warnf("%s", hint)
	}
	return nil
}

// checkTrust warns of signatures that the kernel of this machine would not
// take, where it insists on them.
func (e *Engine) checkTrust(t tree.Target, s *sign.Signer) {
	trust, err := sign.Inspect(e.host.Root, s.Certificate(), e.kernel(t).Config().Get)
	if err != nil {
		e.report.Detailf("%v", err)
	}
	if !trust.Enforced() || trust.Trusted() {
		return
	}
	text := "this machine only loads modules signed with a key it trusts, and it does not trust " + s.Name()
	if trust.Pending {
		text += " until the enrolment is confirmed at the next start"
	}
	e.report.Emit(report.Event{Kind: report.Warning, Text: text,
		Err: exit.Errorf(exit.Usage, "untrusted").WithHint("enrol %s: dkms mok enroll", s.Pair().CertPath)})
}

// openSigner opens the key for a target, and makes it where there is none and
// this is not a dry run.
func (e *Engine) openSigner(ctx context.Context, t tree.Target, dry bool) (*sign.Signer, error) {
	options, err := e.reader.Signing(ctx, t.Kernel)
	if err != nil {
		return nil, err
	}
	k := e.kernel(t)
	hash := k.Config().SignHash()
	switch {
	case options.TrySign == "false":
		e.report.Detailf("modules are not signed: try_sign_modules is false")
		return nil, nil
	case options.TrySign != "true" && e.host.InChroot():
		e.report.Detailf("modules are not signed: this is a chroot or container")
		return nil, nil
	case hash == "":
		e.report.Detailf("modules are not signed: %s has no CONFIG_MODULE_SIG_HASH", k.ConfigFile)
		return nil, nil
	}
	pair, err := e.signingPair(ctx, t, options, dry)
	if err != nil {
		return nil, err
	}
	e.report.Detailf("signing with %s (%s)", pair.KeyPath, pair.Origin)
	s, err := sign.Open(pair, sign.Options{
		Run: e.run, Hash: hash, PIN: e.host.Env["KBUILD_SIGN_PIN"], Env: e.host.Env,
		UseSignFile: options.SignFile != "", Temp: e.framework.TmpLocation,
		SignFile: sign.FindSignFile(e.host.Root, e.distribution, t.Kernel, k.Headers, options.SignFile),
	})
	if err != nil {
		return nil, err
	}
	// A program that cannot sign is better known before anything is built.
	if err := s.Probe(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// errNoPair says that only a real run would make a signing pair.
var errNoPair = errors.New("there is no signing key")

// signingPair finds the key and the certificate for a target, or makes them.
func (e *Engine) signingPair(ctx context.Context, t tree.Target, options *conf.Framework, dry bool) (sign.Pair, error) {
	pair, err := e.findPair(t, options)
	if err != nil {
		return pair, err
	}
	if dry {
		settled, err := pair.Settled()
		if err == nil && !settled {
			err = errNoPair
		}
		return pair, err
	}
	if err := pair.Ensure(ctx, e.host.Now()); err != nil {
		return pair, err
	}
	if pair.Generated {
		e.report.Progressf("made a new signing key %s and certificate %s", pair.KeyPath, pair.CertPath)
	}
	return pair, nil
}

// findPair finds where the key and the certificate for a target are, or would
// be made.
func (e *Engine) findPair(t tree.Target, options *conf.Framework) (sign.Pair, error) {
	k := e.kernel(t)
	return sign.Find(sign.Sources{
		Root: e.host.Root, Key: options.SigningKey, Cert: options.Certificate, Env: e.host.Env,
		Distribution: e.distribution, KernelSource: k.Headers, ConfigKey: k.Config().Text("CONFIG_MODULE_SIG_KEY"),
	})
}

// generateMOK makes the signing pair, where there is none yet.
func (e *Engine) generateMOK(ctx context.Context, req *Request) error {
	return e.locking(ctx, req, func() error {
		targets, err := e.targets(req, e.running)
		if err != nil {
			return err
		}
		options, err := e.reader.Signing(ctx, targets[0].Kernel)
		if err != nil {
			return err
		}
		pair, err := e.signingPair(ctx, targets[0], options, req.DryRun)
		switch {
		case errors.Is(err, errNoPair):
			e.report.Result(fmt.Sprintf("would make %s and %s: %v", pair.KeyPath, pair.CertPath, err))
			return nil
		case err != nil:
			return exit.Errorf(exit.Usage, "%w", err).WithHint("%s", exit.Hint(err))
		}
		e.report.Result("Signing key: " + pair.KeyPath)
		e.report.Result("Public certificate (MOK): " + pair.CertPath)
		return nil
	})
}
