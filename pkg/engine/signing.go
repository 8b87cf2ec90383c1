package engine

import (
	"context"
	"errors"
	"fmt"

	"dkms/pkg/exit"
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
	s, err := e.openSigner(ctx, t)
	if err != nil {
		err = e.unsigned(err)
	}
	e.signers[key] = signing{s, err}
	return s, err
}

// unsigned decides what it means that modules cannot be signed: where the
// kernel would refuse them it is an error, elsewhere a warning.
func (e *Engine) unsigned(err error) error {
	trust, trustErr := sign.Inspect(e.host.Root, nil, nil)
	if trustErr == nil && trust.Enforced() {
		return fmt.Errorf("this machine only loads signed modules: %w", err)
	}
	e.report.Warnf("modules are not signed: %v", err)
	if hint := exit.Hint(err); hint != "" {
		e.report.Warnf("%s", hint)
	}
	return nil
}

func (e *Engine) openSigner(ctx context.Context, t tree.Target) (*sign.Signer, error) {
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
	case options.TrySign != "true" && e.host.Chroot:
		e.report.Detailf("modules are not signed: this is a chroot or container")
		return nil, nil
	case hash == "":
		e.report.Detailf("modules are not signed: %s has no CONFIG_MODULE_SIG_HASH", k.ConfigFile)
		return nil, nil
	}
	pair, err := sign.Find(sign.Sources{
		Root: e.host.Root, Key: options.SigningKey, Cert: options.Certificate, Env: e.host.Env,
		Distribution: e.distribution, KernelSource: k.Headers, ConfigKey: k.Config().Text("CONFIG_MODULE_SIG_KEY"),
	})
	if err != nil {
		return nil, err
	}
	if err := pair.Ensure(e.host.Now()); err != nil {
		return nil, err
	}
	if pair.Generated {
		e.report.Progressf("made a new signing key %s and certificate %s", pair.KeyPath, pair.CertPath)
	}
	e.report.Detailf("signing with %s (%s)", pair.KeyPath, pair.Origin)
	return sign.Open(pair, sign.Options{
		Run: e.run, Hash: hash, PIN: e.host.Env["KBUILD_SIGN_PIN"],
		SignFile: sign.FindSignFile(e.host.Root, e.distribution, t.Kernel, k.Headers, options.SignFile),
	})
}
