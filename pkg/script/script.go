// Package script runs the hook scripts of a module package: POST_ADD,
// PRE_BUILD and the others of dkms.conf(5).
//
// It guarantees the original's rules: the admin's script in /etc/dkms/MODULE
// replaces the package's, a script that is not there or not executable is a
// warning and no failure, none from outside of the sources is run, and scripts of the build are logged and see the
// shell, the others neither.
package script

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"dkms/pkg/system"
)

// Script is one hook of one package, ready to run.
type Script struct {
	// Hook is the directive, such as POST_ADD.
	Hook string
	// Line is its value: a file name and arguments.
	Line string
	// Dir is where the package keeps its scripts and where they run. Found,
	// if set, is where that directory is outside of the jail.
	Dir, Found string
	// Override is the admin's directory for this package.
	Override string
	// Env is added to the environment.
	Env map[string]string
	// Out gets what the script says.
	Out io.Writer
	// Shell makes metacharacters of Line live, as they are for the scripts
	// of a build.
	Shell bool
	// Jail confines the script.
	Jail *system.Jail
	// Files are passed on as descriptors 3 and up.
	Files []*os.File
	// Started, if set, is told the process of the script.
	Started func(pid int)
}

// Missing says that a script cannot be run; the original carries on, and so
// must its callers.
type Missing struct{ Hook, File string }

func (m *Missing) Error() string {
	return fmt.Sprintf("%s: %s is missing or not executable", m.Hook, m.File)
}

// Run runs the script and waits for it. An empty line is nothing to do. The
// error is a [*Missing], a [*system.ExitError] or what kept it from starting.
func (s Script) Run(ctx context.Context, run *system.Runner) error {
	words := strings.Fields(s.Line)
	if len(words) == 0 {
		return nil
	}
	dir, found := s.Dir, cmp.Or(s.Found, s.Dir)
	name, ok := within(dir, words[0])
	if !ok {
		return fmt.Errorf("%s: %s leads out of %s", s.Hook, words[0], dir)
	}
	if s.Override != "" && system.IsExecutable(filepath.Join(s.Override, name)) {
		dir, found = s.Override, s.Override
	}
	file := filepath.Join(dir, name)
	if !system.IsExecutable(filepath.Join(found, name)) {
		return &Missing{s.Hook, file}
	}
	c := system.Cmd{Dir: dir, Env: s.Env, Stdout: s.Out, Stderr: s.Out, Jail: s.Jail, ExtraFiles: s.Files, Started: s.Started}
	if s.Shell {
		// Names of modules and versions may mean something to a shell.
		rest := strings.TrimPrefix(strings.TrimSpace(s.Line), words[0])
		c.Argv = []string{"bash", "-c", quote(file) + rest, "dkms"}
	} else {
		c.Argv = append([]string{file}, words[1:]...)
	}
	err := run.Run(ctx, c)
	if errors.Is(err, syscall.ENOEXEC) { // no "#!" line: bash runs such a file itself
		c.Argv = append([]string{"bash"}, c.Argv...)
		err = run.Run(ctx, c)
	}
	return err
}

// within is the path name, which is used in dir, as seen from there, if it
// does not lead out of dir. One that begins with a slash is used there, too.
func within(dir, name string) (string, bool) {
	rel, err := filepath.Rel(dir, filepath.Join(dir, name))
	return rel, err == nil && filepath.IsLocal(rel)
}

// quote makes s one word of the shell that means nothing but itself.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
