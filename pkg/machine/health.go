package machine

import (
	"fmt"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/tree"
)

// State is how a module version stands for a kernel, in a word. The words are
// an interface: check, why, doctor and their JSON print them.
type State string

// The states. From Missing on a kernel is not safe to boot.
const (
	// Ready: installed, whole, made for the kernel, and it will be loaded.
	Ready State = "ready"
	// Excluded: BUILD_EXCLUSIVE_* says that it is not meant for the kernel.
	Excluded State = "skipped"
	// Unwanted: AUTOINSTALL is not set, or another version counts.
	Unwanted State = "unwanted"
	// Missing: not installed, and nothing is known that is in the way.
	Missing State = "missing"
	// Waiting: it builds on a module that is not registered.
	Waiting State = "waiting"
	// Failed: the last try to build or install it failed, or the next would.
	Failed State = "failed"
	// Outdated: installed, but its sources or the kernel's headers have changed
	// since it was built.
	Outdated State = "outdated"
	// Damaged: a file of it is missing or altered.
	Damaged State = "damaged"
	// Foreign: made for another kernel or another kind of machine.
	Foreign State = "foreign"
	// Unsigned and Untrusted: this machine will not load it.
	Unsigned  State = "unsigned"
	Untrusted State = "untrusted"
	// BrokenSource: its sources are lost.
	BrokenSource State = "broken"
)

// Health is how a module version stands for a kernel, and why.
type Health struct {
	State State
	// Reason says why, and may be empty. It names neither the module nor the
	// kernel.
	Reason string
	// Hint is the next step, if there is one.
	Hint string
	// File is what is damaged, foreign, unsigned or untrusted.
	File string
}

// OK tells whether nothing is to be done about a module.
func (h Health) OK() bool { return h.State == Ready }

// Bad tells whether a kernel is not safe to boot with it.
func (h Health) Bad() bool {
	switch h.State {
	case Ready, Excluded, Unwanted:
		return false
	}
	return true
}

// Why is the reason with the file that it is about.
func (h Health) Why() string { return strings.TrimSpace(h.File + " " + h.Reason) }

func damaged(file, why string) Health { return Health{State: Damaged, File: file, Reason: why} }

// failed is the health of a module that an error is about.
func failed(err error) Health {
	return Health{State: Failed, Reason: err.Error(), Hint: exit.Hint(err)}
}

// Brief is the reason of a verdict on one line, without what the line says
// already: of a compiler's message the first line, without the picture below.
func (m *Machine) Brief(s Subject, reason string) string {
	var list []string
	for i, line := range strings.Split(reason, "\n") {
		for _, known := range []string{s.ID.String() + ": ", s.ID.String() + " is broken: ", "kernel " + s.Kernel + ": "} {
			line = strings.TrimPrefix(line, known)
		}
		if i == 0 || strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.ReplaceAll(strings.Join(list, ": "), m.Tree.ScratchDir(s.ID)+"/", "")
}

// known is a failure that is on record already.
type known struct{ error }

// Unwrap gives the underlying error to [errors.Is] and [errors.As].
func (k *known) Unwrap() error { return k.error }

// notAgain is the failure of an earlier build, as the answer to why there is no
// other one.
func notAgain(s Subject, f *tree.Failure) error {
	return &known{exit.Errorf(exit.Code(f.Code), "%s\n  not tried again: %s of %s", f.Message, build.Compared, f.Time.Local().Format("2006-01-02 15:04")).
		WithHint("dkms build %s -k %s tries again and shows why it fails", s.ID, s.Kernel)}
}

// withID puts a module before an error and keeps its code and hint.
func withID(id tree.ID, err error) error {
	return exit.Errorf(exit.Status(err), "%w", fmt.Errorf("%s: %w", id, err)).WithHint("%s", exit.Hint(err))
}
