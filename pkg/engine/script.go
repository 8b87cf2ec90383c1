package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"dkms/pkg/kernel"
	"dkms/pkg/script"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// scriptEnv is what scripts and make learn of the subject; the names are those
// that packages rely on.
func scriptEnv(s subject) map[string]string {
	return map[string]string{"module": s.Name, "module_version": s.Version, "kernelver": s.Kernel, "arch": s.Arch}
}

// script runs a hook of a package that is not part of a build. A hook that is
// not there is a warning.
func (e *Engine) script(ctx context.Context, id tree.ID, hook, line string, env map[string]string) error {
	for name, value := range e.directives() {
		env[name] = value
	}
	out := &lineWriter{emit: func(s string) { e.report.Progressf("%s: %s: %s", id, hook, s) }}
	defer out.flush()
	s := script.Script{
		Hook: hook, Line: line, Dir: e.tree.SourceLink(id), Override: e.host.Root.Path("/etc/dkms/" + id.Name),
		Env: env, Out: out,
	}
	err := s.Run(ctx, e.run)
	var missing *script.Missing
	if errors.As(err, &missing) {
		e.report.Warnf("%s: %v", id, missing)
		return nil
	}
	return err
}

// postTransaction runs the admin's command after a run that changed something.
// What it says goes to a log in the tree; its failure is a warning, since the
// modules are what was asked for.
func (e *Engine) postTransaction(ctx context.Context, t tree.Target) {
	if e.framework.PostTransaction == "" {
		return
	}
	command, err := e.reader.PostTransaction(ctx, t.Kernel)
	if err != nil {
		e.report.Warnf("post_transaction: %v", err)
		return
	}
	path := filepath.Join(e.tree.Dir(), "post_transaction.log")
	log, err := os.Create(path)
	if err != nil {
		e.report.Warnf("post_transaction: %v", err)
		return
	}
	defer log.Close()
	e.report.Progressf("running the post-transaction command")
	e.report.Detailf("%s", command)
	err = e.run.Run(ctx, system.Cmd{Argv: []string{"bash", "-c", command, "dkms"}, Stdout: log, Stderr: log})
	if err != nil {
		e.report.Warnf("the post-transaction command failed: %v; its output is in %s", err, path)
	}
}

func wantsPostTransaction(v Verb) bool {
	switch v {
	case Install, Uninstall, Unbuild, Remove, Autoinstall, KernelPostinst:
		return true
	}
	return false
}

// configOf is how conf asks for kernel configuration; nil says that there is
// none to ask.
func configOf(k *kernel.Kernel) func(string) string {
	if !k.Config().Found() {
		return nil
	}
	return k.Config().Get
}

// lineWriter hands whole lines on.
type lineWriter struct {
	emit func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == '\n' {
			w.flush()
			continue
		}
		w.rest = append(w.rest, c)
	}
	return len(p), nil
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.emit(string(w.rest))
		w.rest = w.rest[:0]
	}
}
