package build

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dkms/pkg/exit"
	"dkms/pkg/kernel"
	"dkms/pkg/system"
)

// TestNotIsolated: a build that could not be isolated is no failure of the module,
// which would not be tried again.
func TestNotIsolated(t *testing.T) {
	w := &work{Builder: &Builder{}, Job: Job{ID: foo, Kernel: &kernel.Kernel{Release: "6.1"}}}
	err := w.blame(exit.MakeFailed, failedBy("make failed", &system.JailError{Step: "mounting /x", Err: unix.EINVAL}), nil)
	if _, own := errors.AsType[*Failure](err); own || w.faulty {
		t.Errorf("%v counts as a failure of the module", err)
	}
	if want := foo.String() + ": kernel 6.1: the build could not be isolated: mounting /x: invalid argument"; err.Error() != want || exit.Status(err) != exit.MakeFailed {
		t.Errorf("the error is %q with status %d; want %q", err, exit.Status(err), want)
	}
	if !strings.Contains(exit.Hint(err), "BUILD_SANDBOX=no") {
		t.Errorf("the hint is %q", exit.Hint(err))
	}
}
