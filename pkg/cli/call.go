package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
)

// call is the context in which a verb runs.
type call struct {
	ctx     context.Context
	process system.Process
	host    system.Host
	report  *report.Reporter
	options everyVerb
	// verb is the name by which the verb was called.
	verb string
}

// enter makes the system of --root the one that the verb works on.
func (c *call) enter(about about) error {
	root, tools := c.options.Root, c.options.Toolchain
	switch {
	case root == "" && tools != "":
		return exit.Errorf(exit.Usage, "--toolchain needs --root")
	case root == "":
		return nil
	case about.running:
		return exit.Errorf(exit.Usage, "%s is about the running machine: it does not take --root", about.name)
	}
	p, err := c.process.Enter(root, tools)
	c.process, c.host = p, p.Host
	return err
}

// root returns an error unless root runs the program.
func (c *call) root() error {
	if c.host.UID == 0 {
		return nil
	}
	return exit.Errorf(exit.Usage, "%s changes the system: only root may do that", c.verb).
		WithHint("sudo dkms %s", quoted(c.process.Args))
}

// quoted returns words as a command line for a shell.
func quoted(words []string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%"
	list := make([]string, len(words))
	for i, w := range words {
		if list[i] = w; w == "" || strings.Trim(w, plain) != "" {
			list[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(list, " ")
}

// settings returns the machine's settings from the options of every verb and
// the options that only some verbs have.
func (c *call) settings(j jobs, symlink bool) (machine.Settings, error) {
	s := machine.Settings{
		State: c.options.Dkmstree, Source: c.options.Sourcetree, Install: c.options.Installtree,
		Headers: c.options.Kernelsourcedir, Config: c.options.Config, Directives: c.options.Directive, Symlink: symlink,
	}
	var err error
	s.Env = j.Env
	s.Jobs, err = j.number()
	return s, err
}

// number returns the number of jobs, or nil where none was given.
func (j jobs) number() (*int, error) {
	if j.Jobs == nil || *j.Jobs == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(*j.Jobs)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	if err != nil {
		return nil, exit.Errorf(exit.Usage, "-j %s: not a number of jobs", *j.Jobs)
	}
	return &n, nil
}

// work is what a verb does on the machine.
type work func(*machine.Machine) (exit.Code, error)

// tell runs a verb that neither compiles nor installs.
func (c *call) tell(do work) error { return c.do(jobs{}, false, do) }

// do runs a verb with its options about jobs and links.
func (c *call) do(j jobs, symlink bool, do work) error { return c.doSigned(j, symlink, signing{}, do) }

// doSigned is do with the option about signing.
func (c *call) doSigned(j jobs, symlink bool, o signing, do work) error {
	s, err := c.settings(j, symlink)
	if err != nil {
		return err
	}
	if s.Sign = machine.SignMode(o.Sign); !s.Sign.Valid() {
		return exit.Errorf(exit.Usage, "--sign=%s: there are never, host-key and later", o.Sign)
	}
	return c.with(s, do)
}

// with runs a verb on this machine. Without a terminal nobody can interrupt the
// wait for another run.
func (c *call) with(s machine.Settings, do work) error {
	if errFile := c.process.ErrFile(); report.UnderJournal(c.host.Env, errFile) {
		s.LockWait = machine.Patience
	}
	programs := system.NewRunner(c.host)
	if c.options.Debug {
		programs.Trace = c.process.Err
	}
	m, err := machine.New(c.ctx, c.host, programs, c.report, s)
	if err != nil {
		return err
	}
	if m.Framework.Verbose {
		c.report.Verbose()
	}
	code, err := do(m)
	if err != nil {
		return err
	}
	return status(code)
}

// reported is the exit status of a run that has already printed its errors.
type reported exit.Code

func (r reported) Error() string { return fmt.Sprintf("status %d", int(r)) }

func status(code exit.Code) error {
	if code == exit.OK {
		return nil
	}
	return reported(code)
}
