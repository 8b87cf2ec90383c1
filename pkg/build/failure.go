package build

import (
	"errors"
	"fmt"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// failedBy says what failed and how the command line ended; it leaves out the
// shell that ran the command line. What never began for lack of that shell has
// not failed.
func failedBy(what string, err error) error {
	if errors.Is(err, system.ErrNoProgram) {
		return err
	}
	if e, ok := errors.AsType[*system.ExitError](err); ok {
		return fmt.Errorf("%s: %s", what, e.How())
	}
	return fmt.Errorf("%s: %w", what, err)
}

// failed returns the error of a build step, with the reason from the log.
func (w *work) failed(code exit.Code, err error) error {
	return w.blame(code, err, FirstError(w.scratch.log))
}

// unfit returns the error of a build whose commands succeeded without a usable
// result. If the log shows a refusal, the refusal is the reason: make may
// continue after one.
func (w *work) unfit(code exit.Code, err error) error {
	var lines []string
	if line := Refused(w.scratch.log); line != "" && w.scratch.private != "" {
		lines = []string{line}
	}
	return w.blame(code, err, lines)
}

// blame returns the error of a failure: what failed, the reason as far as lines
// of the log show it, and the path of the rest of the log. A build that could not
// be isolated says nothing about the module.
func (w *work) blame(code exit.Code, err error, lines []string) error {
	if refused, ok := errors.AsType[*system.JailError](err); ok {
		return exit.Errorf(code, "%s: kernel %s: the build could not be isolated: %w", w.ID, w.Kernel.Release, refused).
			WithHint("BUILD_SANDBOX=no in /etc/dkms/%s.conf builds this module as root", w.ID.Name)
	}
	w.faulty = true
	d := diagnose(append(lines, err.Error()), w.Kernel.Release, w.scratch.private != "")
	if _, ended := errors.AsType[*stalled](err); ended {
		d = diagnosis{class: stall}
	}
	log := "the whole log is in " + w.Tree.ScratchLog(w.ID)
	hint := d.advice(log, w.ID.Name, strings.Join(append(lines, err.Error()), "\n"))
	own := exit.Hint(err)
	if found := w.exporter(lines); found != "" {
		d, own = diagnosis{}, found
	}
	if own != "" && d.class == unknown {
		hint = own + "; " + log
	}
	what := strings.ReplaceAll(err.Error(), w.scratch.real, w.scratch.dir)
	text := fmt.Sprintf("%s: kernel %s: %s%s", w.ID, w.Kernel.Release, what, d.words())
	for _, line := range lines {
		text += "\n  " + line
	}
	failed := exit.Errorf(code, "%s", text).WithHint("%s", hint)
	switch {
	case d.class == memory:
		return &memoryError{failed}
	case d.transient():
		return failed
	}
	_, fingerprint := w.inputs()
	return &Failure{failed, fingerprint}
}
