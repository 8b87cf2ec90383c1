package run

import (
	"context"
	"errors"
	"syscall"

	"dkms/pkg/machine"
	"dkms/pkg/script"
	"dkms/pkg/tree"
)

// runScript runs a hook of a package that is not part of a build. A missing
// hook is a warning.
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
	if m.Host.Image && (errors.Is(err, syscall.ENOEXEC) || errors.Is(err, syscall.ENOENT)) { // ENOENT: the shell is missing
		m.Report.Warnf("%s: %s was not run: programs of this system do not run on this machine", id, hook)
		return nil
	}
	if missing, ok := errors.AsType[*script.Missing](err); ok {
		m.Report.Warnf("%s: %v", id, missing)
		return nil
	}
	return err
}

// lineWriter passes on complete lines.
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
