package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"dkms/pkg/machine"
	"dkms/pkg/script"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// script runs a hook of a package that is not part of a build. A hook that is
// not there is a warning.
func (x *executor) script(ctx context.Context, id tree.ID, hook, line string, env map[string]string) error {
	return runScript(ctx, x.w.Machine, id, hook, line, env)
}

func runScript(ctx context.Context, m *machine.Machine, id tree.ID, hook, line string, env map[string]string) error {
	for name, value := range m.Directives() {
		env[name] = value
	}
	out := &lineWriter{emit: func(s string) { m.Report.Progressf("%s: %s: %s", id, hook, s) }}
	defer out.flush()
	s := script.Script{
		Hook: hook, Line: line, Dir: m.Tree.SourceLink(id), Override: m.Host.Root.Path("/etc/dkms/" + id.Name),
		Env: env, Out: out,
	}
	err := s.Run(ctx, m.Run)
	if missing, ok := errors.AsType[*script.Missing](err); ok {
		m.Report.Warnf("%s: %v", id, missing)
		return nil
	}
	return err
}

// postTransaction runs the admin's command after a run that changed something.
// What it says goes to a log in the tree; its failure is a warning, since the
// modules are what was asked for.
func (x *executor) postTransaction(ctx context.Context, t tree.Target) {
	command, err := x.w.PostTransaction(ctx, t.Kernel)
	if err != nil {
		x.w.Report.Warnf("post_transaction: %v", err)
		return
	}
	path := filepath.Join(x.w.Tree.Dir(), "post_transaction.log")
	log, err := os.Create(path)
	if err != nil {
		x.w.Report.Warnf("post_transaction: %v", err)
		return
	}
	defer log.Close()
	x.w.Report.Progressf("running the post-transaction command")
	x.w.Report.Detailf("%s", command)
	err = x.w.Run.Run(ctx, system.Cmd{Argv: []string{"bash", "-c", command, "dkms"}, Stdout: log, Stderr: log})
	if err != nil {
		x.w.Report.Warnf("the post-transaction command failed: %v; its output is in %s", err, path)
	}
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
