package machine

import (
	"fmt"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

// State is the state of a module version for a kernel, in a word. The words are
// an interface: check, why, doctor and their JSON print them.
type State string

// These are the states. In the state Missing and all after it, a kernel is not
// safe to boot.
const (
	// Ready: the version is installed, undamaged and made for the kernel, and
	// the kernel will load it.
	Ready State = "ready"
	// Excluded: BUILD_EXCLUSIVE_* says that the version is not meant for the
	// kernel.
	Excluded State = "skipped"
	// Unwanted: AUTOINSTALL is not set, or another version counts.
	Unwanted State = "unwanted"
	// Missing: the version is not installed, and no obstacle is known.
	Missing State = "missing"
	// Waiting: the version builds on a module that is not registered.
	Waiting State = "waiting"
	// Failed: the last attempt to build or install the version failed, or the
	// next one would.
	Failed State = "failed"
	// Outdated: the version is installed, but its sources or the kernel's
	// headers have changed since the build.
	Outdated State = "outdated"
	// Stale: the version is installed, but the initramfs of the kernel has
	// another build of it, a copy without its signature, or none any more.
	Stale State = "stale"
	// Damaged: a file of the version is missing or altered.
	Damaged State = "damaged"
	// Foreign: a file is made for another kernel or another kind of machine.
	Foreign State = "foreign"
	// Unsigned and Untrusted: this machine will not load the module.
	Unsigned  State = "unsigned"
	Untrusted State = "untrusted"
	// BrokenSource: the sources of the version are lost.
	BrokenSource State = "broken"
)

// Health is the state of a module version for a kernel, and the reason.
type Health struct {
	State State
	// Reason may be empty. It names neither the module nor the kernel.
	Reason string
	// Hint is the next step, if there is one.
	Hint string
	// File is the file that is damaged, foreign, unsigned or untrusted.
	File string
}

// OK tells whether the module needs nothing to be done.
func (h Health) OK() bool { return h.State == Ready }

// Bad tells whether the state makes a kernel unsafe to boot.
func (h Health) Bad() bool {
	switch h.State {
	case Ready, Excluded, Unwanted:
		return false
	}
	return true
}

// Why is the reason, after the file that it is about.
func (h Health) Why() string { return strings.TrimSpace(h.File + " " + h.Reason) }

func damaged(file, why string) Health { return Health{State: Damaged, File: file, Reason: why} }

// failed is the health of a module with an error.
func failed(err error) Health {
	return Health{State: Failed, Reason: err.Error(), Hint: exit.Hint(err)}
}

// Brief is the reason of a verdict on one line, without what that line already
// says: of a compiler's message, it keeps the first line. It leaves out that
// the build is not tried again, because the next step tries it again.
func (m *Machine) Brief(s Subject, reason string) string {
	var list []string
	for i, line := range strings.Split(reason, "\n") {
		for _, known := range []string{s.ID.String() + ": ", s.ID.String() + " is broken: ", "kernel " + s.Kernel + ": "} {
			line = strings.TrimPrefix(line, known)
		}
		if i == 0 || strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") && !strings.HasPrefix(line, notTriedAgain) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.ReplaceAll(strings.Join(list, ": "), m.Tree.ScratchDir(s.ID)+"/", "")
}

// notTriedAgain begins the last line of a failure that is already recorded.
const notTriedAgain = "  not tried again: "

// known is a failure that is already recorded.
type known struct{ error }

// Unwrap returns the underlying error for [errors.Is] and [errors.As].
func (k *known) Unwrap() error { return k.error }

// notAgain is the error of a build that is not repeated: the failure of the
// earlier build.
func notAgain(s Subject, f *tree.Failure) error {
	return &known{exit.Errorf(exit.Code(f.Code), "%s\n%s%s of %s", f.Message, notTriedAgain, build.Compared, f.Time.Local().Format("2006-01-02 15:04")).
		WithHint("dkms build %s -k %s", s.ID, s.Kernel)}
}

// withID prefixes an error with a module, and keeps its code and hint.
func withID(id tree.ID, err error) error {
	return exit.Errorf(exit.Status(err), "%w", fmt.Errorf("%s: %w", id, err)).WithHint("%s", exit.Hint(err))
}
