// Package script runs the hook scripts of a module package: POST_ADD, PRE_BUILD
// and the others of dkms.conf(5).
//
// It guarantees the rules of the original. The administrator's script in
// /etc/dkms/MODULE replaces that of the package. A script that is missing or
// not executable is a warning and not a failure. No script from outside of the
// sources is run. Scripts of a build are logged and interpreted by a shell;
// other scripts are not.
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
	// Line is the value of the directive: a file name and arguments.
	Line string
	// Dir is the directory of the package's scripts, in which they also run.
	// Found, if set, is the path of that directory outside of the jail.
	Dir, Found string
	// Override is the administrator's directory for this package.
	Override string
	// Env is added to the environment.
	Env map[string]string
	// Out receives the output of the script.
	Out io.Writer
	// Shell lets a shell interpret the metacharacters of Line, as for the
	// scripts of a build.
	Shell bool
	// Jail confines the script.
	Jail *system.Jail
	// Files are passed on as descriptors 3 and up.
	Files []*os.File
	// Started, if set, is called with the process ID of the script.
	Started func(pid int)
}

// Missing says that a script cannot be run. The original continues after that,
// and so must the caller.
type Missing struct{ Hook, File string }

func (m *Missing) Error() string {
	return fmt.Sprintf("%s: %s is missing or not executable", m.Hook, m.File)
}

// Run runs the script and waits for it. With an empty line, it does nothing.
// The error is a [*Missing], a [*system.ExitError] or the reason why the script
// could not be started.
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
	c := system.Cmd{
		Dir: dir, Env: s.Env, Stdout: s.Out, Stderr: s.Out, Jail: s.Jail, ExtraFiles: s.Files, Started: s.Started,
		Inside: !s.Shell, // scripts of a build run the programs that build, all others those of the system
	}
	if s.Shell {
		// Names of modules and versions may contain characters that are special
		// to a shell.
		rest := strings.TrimPrefix(strings.TrimSpace(s.Line), words[0])
		c.Argv = []string{"bash", "-c", quote(file) + rest, "dkms"}
	} else {
		c.Argv = append([]string{file}, words[1:]...)
	}
	err := run.Run(ctx, c)
	if errors.Is(err, syscall.ENOEXEC) { // without a "#!" line, bash runs the file itself
		c.Argv = append([]string{"bash"}, c.Argv...)
		err = run.Run(ctx, c)
	}
	return err
}

// within is the path of name, as used in dir, relative to dir, and whether name
// stays in dir. A name that begins with a slash is used in dir, too.
func within(dir, name string) (string, bool) {
	rel, err := filepath.Rel(dir, filepath.Join(dir, name))
	return rel, err == nil && filepath.IsLocal(rel)
}

// quote makes s one word of the shell in which no character is special.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
