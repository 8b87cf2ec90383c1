package run

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/report"
	"dkms/pkg/sign"
	"dkms/pkg/tree"
)

// signing is the signer for a target, or the reason why there is none.
type signing struct {
	signer *sign.Signer
	later  bool
	err    error
}

// signer is the signer for a target. It is nil if modules are not signed and
// either need no signature or a warning was given, or if another machine is to
// sign them later.
func (x *executor) signer(ctx context.Context, t tree.Target) (signer *sign.Signer, later bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, ok := x.signers[t]
	if !ok {
		s.signer, s.later, s.err = signerFor(ctx, x.w, t, len(x.signers) > 0)
		x.signers[t] = s
	}
	return s.signer, s.later, s.err
}

// errInChroot is no failure of a run that signs what it builds: the machine that
// the chroot becomes signs later.
var errInChroot = exit.Errorf(exit.Usage, "modules are not signed, as this is a chroot or container").
	WithHint("try_sign_modules=true in /etc/dkms/framework.conf signs them here, too")

// errLater is no failure, either: a key in an image is a key in many hands.
var errLater = exit.Errorf(exit.Usage, "modules are not signed, as the key is that of the machine that will run them").
	WithHint("it does so at its start if it has a key that it trusts; --sign=host-key signs them here, with the key of this machine")

// signerFor is the signer for a target. If modules cannot be signed, the result
// is an error where the kernel would refuse unsigned modules, and otherwise a
// warning. If signerFor is called again in a run, it does not repeat that a
// chroot signs nothing.
func signerFor(ctx context.Context, w *machine.Writer, t tree.Target, again bool) (s *sign.Signer, later bool, err error) {
	s, err = openSigner(ctx, w.Machine, w, t)
	later = errors.Is(err, errLater) || errors.Is(err, errInChroot)
	if later {
		if !again {
			w.Report.Emit(report.Event{Kind: report.Progress, Text: err.Error(), Err: err})
		}
		return nil, true, nil
	}
	if err != nil {
		return nil, false, unsigned(w.Machine, t, err)
	}
	return s, false, nil
}

// unsigned decides whether a failure to sign is an error or a warning.
func unsigned(m *machine.Machine, t tree.Target, err error) error {
	if m.Trust(t, nil).Enforced() {
		return fmt.Errorf("this machine only loads signed modules: %w", err)
	}
	m.Report.Warnf("modules are not signed: %v", err)
	if hint := exit.Hint(err); hint != "" {
		m.Report.Warnf("%s", hint)
	}
	return nil
}

// tellRefused warns of newly installed modules that will not load, because this
// machine requires signatures by a trusted key. The warning comes last.
func (x *executor) tellRefused(ctx context.Context) error {
	facts, err := x.w.Facts()
	if err != nil {
		return err
	}
	var targets []tree.Target
	refused := map[tree.Target][]string{}
	why := map[tree.Target]machine.Health{}
	for _, s := range x.order {
		mod := facts.Module(s)
		if x.results[s].outcome != plan.Changed || !mod.Built || !facts.SignaturesRequired(s.Target) {
			continue
		}
		if h := facts.Signature(ctx, mod); h.Bad() {
			if refused[s.Target] == nil {
				targets = append(targets, s.Target)
			}
			refused[s.Target], why[s.Target] = append(refused[s.Target], s.ID.String()), h
		}
	}
	for _, t := range targets {
		err := x.distrust(ctx, t, why[t])
		x.w.Report.Emit(report.Event{Kind: report.Warning, Kernel: t.Kernel, Arch: t.Arch, Err: err,
			Text: fmt.Sprintf("%s: kernel %s will not load %s: %v", few(refused[t]), t.Kernel, thisOrThese(len(refused[t])), err)})
	}
	return nil
}

// few lists words, or the first of many and their number.
func few(words []string) string {
	const most = 3
	if len(words) > most+1 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
	}
	return strings.Join(words, ", ")
}

func thisOrThese(n int) string {
	if n == 1 {
		return "this"
	}
	return "these"
}

// distrust says why modules with the given health are not loaded, and what to
// do about it.
func (x *executor) distrust(ctx context.Context, t tree.Target, h machine.Health) error {
	_, cert, err := x.w.Certificate(ctx, t)
	if err == nil && cert != nil && h.State == machine.Untrusted {
		if trust := x.w.Trust(t, cert); !trust.Trusted() {
			return exit.Errorf(exit.Usage, "%s", machine.Distrust(trust, cert)).WithHint("%s", machine.EnrolHint(trust))
		}
	}
	return exit.Errorf(exit.Usage, "%s", h.Why()).WithHint("%s", h.Hint)
}

// openSigner opens the key for a target. If there is no key and w is not nil,
// openSigner makes one.
func openSigner(ctx context.Context, m *machine.Machine, w *machine.Writer, t tree.Target) (*sign.Signer, error) {
	options, err := m.Signing(ctx, t.Kernel)
	if err != nil {
		return nil, err
	}
	k := m.Kernel(t)
	switch {
	case m.Settings.Sign == machine.SignNever:
		return nil, nil
	case machine.SignsLater(m, options.TrySign):
		return nil, errLater
	case options.TrySign == "false" && m.Settings.Sign == "":
		m.Report.Detailf("modules are not signed: try_sign_modules is false")
		return nil, nil
	case options.TrySign != "true" && m.Settings.Sign == "" && m.Host.InChroot():
		return nil, errInChroot
	case k.Config().SignHash() == "":
		m.Report.Detailf("modules are not signed: %s has no CONFIG_MODULE_SIG_HASH", k.ConfigFile)
		return nil, nil
	}
	pair, err := signingPair(ctx, m, w, t, options)
	if err != nil {
		return nil, err
	}
	hash, err := machine.SignDigest(ctx, m, t, options)
	if err != nil {
		return nil, err
	}
	m.Report.Detailf("signing with %s (%s)", pair.KeyPath, pair.Origin)
	s, err := sign.Open(pair, sign.Options{
		Run: m.Run, Hash: hash, PIN: m.Host.Env["KBUILD_SIGN_PIN"], Env: m.Host.Env,
		UseSignFile: options.SignFile != "", Temp: m.Framework.TmpLocation,
		SignFile: sign.FindSignFile(m.Host.Root, m.Distribution, t.Kernel, k.Headers, options.SignFile),
	})
	if err != nil {
		return nil, err
	}
	// If the program cannot sign, the run should find out before anything is
	// built.
	if err := s.Probe(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// errNoPair says that only a real run would make a key pair.
var errNoPair = errors.New("there is no signing key")

// signingPair finds the key and the certificate for a target, or makes them.
func signingPair(ctx context.Context, m *machine.Machine, w *machine.Writer, t tree.Target, options *conf.Framework) (sign.Pair, error) {
	if m.Settings.Sign == machine.SignHostKey && m.Host.Image {
		pair, err := machine.HostPair(ctx, m, t.Kernel)
		if err != nil {
			return pair, err
		}
		there, err := pair.Settled()
		if err == nil && !there {
			err = exit.Errorf(exit.Usage, "--sign=host-key: this machine has no signing key").WithHint("dkms generate_mok makes one")
		}
		return pair, err
	}
	pair, err := m.FindPair(ctx, t, options)
	if err != nil {
		return pair, err
	}
	if w == nil {
		there, err := pair.Settled()
		if err == nil && !there {
			err = errNoPair
		}
		return pair, err
	}
	if err := pair.Ensure(ctx, m.Host.Now()); err != nil {
		return pair, err
	}
	if pair.Generated {
		m.Report.Progressf("made a new signing key %s and certificate %s", pair.KeyPath, pair.CertPath)
	}
	return pair, nil
}

// GenerateMOK makes the key pair if there is none yet.
func GenerateMOK(ctx context.Context, m *machine.Machine, choice machine.Choice, o Options) error {
	return transact(ctx, m, "generate_mok", o, func(w *machine.Writer) error {
		target, err := m.AnyTarget(choice)
		if err != nil {
			return err
		}
		options, err := m.Signing(ctx, target.Kernel)
		if err != nil {
			return err
		}
		pair, err := signingPair(ctx, m, w, target, options)
		switch {
		case errors.Is(err, errNoPair):
			would(m, "make %s and %s: %v", pair.KeyPath, pair.CertPath, err)
			return nil
		case err != nil:
			return exit.Errorf(exit.Usage, "%w", err).WithHint("%s", exit.Hint(err))
		}
		m.Report.Result("Signing key: " + pair.KeyPath)
		m.Report.Result("Public certificate (MOK): " + pair.CertPath)
		return nil
	})
}
