package engine

import (
	"context"
	"strings"

	"dkms/pkg/build"
	"dkms/pkg/exit"
)

// log prints the log of the last build of what a request names: of any of its
// versions and kernels where that is left open.
func (e *Engine) log(req *Request) error {
	ids, err := e.named(req)
	if err != nil {
		return err
	}
	var last build.Attempt
	for _, id := range ids {
		for _, a := range build.Attempts(e.tree, id) {
			if e.asked(req, a) && a.Time.After(last.Time) {
				last = a
			}
		}
	}
	if last.Path == "" {
		return exit.Errorf(exit.NotBuilt, "there is no log of a build of %s", strings.TrimSuffix(req.Name+"/"+req.Version, "/")).
			WithHint("dkms why %s says how it stands", req.Name)
	}
	how := "ended well"
	if last.Failed {
		how = "failed"
	}
	e.report.Progressf("%s: the build for %s that %s on %s", last.Path, last.Target, how, day(last.Time))
	if err := e.printLog(last.Path); err != nil {
		return err
	}
	if first := build.FirstError(last.Path); last.Failed && len(first) > 0 {
		e.report.Progressf("the first error in it: %s", strings.Join(first, "\n"))
	}
	return nil
}

// asked tells whether a log is of a kernel that the request is about.
func (e *Engine) asked(req *Request, a build.Attempt) bool {
	filters := e.filters(req)
	for _, f := range filters {
		if matches(f.Kernel, a.Target.Kernel) && matches(f.Arch, a.Target.Arch) {
			return true
		}
	}
	return len(filters) == 0
}

// printLog prints a file. Lines that look like trouble and are none are
// labelled.
func (e *Engine) printLog(path string) error {
	for line, err := range build.Lines(context.Background(), path) {
		if err != nil {
			return err
		}
		if meaning := build.Harmless(line); meaning != "" {
			line += "   [harmless: " + meaning + "]"
		}
		e.report.Result(line)
	}
	return nil
}
