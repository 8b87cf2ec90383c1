// Package cli is the command line of dkms: it rewrites the words into one verb
// with its options, and runs that verb.
//
// It guarantees that every spelling that DKMS 3.4.3 accepts means the same
// here, and that a word or an option without a meaning for the verb is an
// error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/report"
	"dkms/pkg/system"
)

// Main runs dkms in a process and returns its exit status.
func Main(p system.Process) int {
	ctx := p.Begin()
	return int(system.Status(ctx, runWords(ctx, p)))
}

// runWords runs the command line.
func runWords(ctx context.Context, p system.Process) exit.Code {
	l, deprecated, err := read(p.Args)
	if l.wants("version") && err == nil {
		fmt.Fprintln(p.Out, build.Release)
		return exit.OK
	}
	if l.help && l.verb == nil && err == nil {
		usage(p.Out)
		return exit.OK
	}
	c := &call{ctx: ctx, process: p, host: p.Host, verb: l.about.name}
	c.report = c.reporter(l)
	defer c.report.Close()
	if len(p.Args) == 0 {
		c.overview()
		err = exit.Errorf(exit.Status(err), "%v", err) // the overview ends with what the hint says
	}
	if err == nil {
		for _, d := range deprecated {
			c.report.Warnf("%s does nothing any more", d)
		}
		err = c.carryOut(l)
	}
	if code, ok := errors.AsType[reported](err); ok {
		return exit.Code(code)
	}
	if err != nil {
		c.report.Error(err)
	}
	return exit.Status(err)
}

// read rewrites the words of a command line. The reporter needs the line's
// options even when the line has an error, so the line is never nil.
func read(words []string) (l *line, deprecated []string, err error) {
	options, positional, deprecated, err := normalize(words)
	if err != nil {
		return &line{options: options}, nil, err
	}
	l = &line{options: options}
	if !l.wants("version") {
		l, err = rewrite(options, positional)
	}
	return l, deprecated, err
}

// wants reports whether the line has an option.
func (l *line) wants(option string) bool {
	return slices.ContainsFunc(l.options, func(o argument) bool { return o.name == option })
}

// carryOut parses the line and runs its verb.
func (c *call) carryOut(l *line) error {
	parser, err := l.tables(&c.options)
	if err != nil {
		return err
	}
	if l.help {
		return helpOn(c.process.Out, parser, l, &c.options)
	}
	if err := l.contradictions(); err != nil {
		return err
	}
	k, err := l.parse(parser)
	if err != nil {
		return err
	}
	if err := c.enter(l.about); err != nil {
		return err
	}
	if r, ok := l.verb.(interface{ needsRoot() bool }); ok && r.needsRoot() {
		if err := c.root(); err != nil {
			return err
		}
	}
	return k.Run(c)
}

// tables makes kong's tables for one verb; tables for all verbs would slow down
// every run.
func (l *line) tables(options *everyVerb) (*kong.Kong, error) {
	return kong.New(l.verb, kong.Name("dkms "+l.about.name), kong.Exit(func(int) {}), kong.NoDefaultHelp(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Embed(options))
}

// parse passes to kong what the verb takes, and rejects the rest.
func (l *line) parse(parser *kong.Kong) (*kong.Context, error) {
	node := parser.Model
	args, err := l.applicable(func(option string) bool {
		return slices.ContainsFunc(node.Flags, func(f *kong.Flag) bool { return f.Name == option })
	})
	if err != nil {
		return nil, err
	}
	switch n := len(node.Positional); {
	case len(l.words) <= n:
	case n == 0:
		return nil, l.tooMany(l.words[0])
	case !node.Positional[n-1].IsCumulative():
		return nil, oneModule(l.words[n], l.words[n-1])
	}
	k, err := parser.Parse(slices.Concat(args, []string{"--"}, l.words))
	if err != nil {
		return nil, &exit.Error{Code: exit.BadOption, Err: err}
	}
	return k, nil
}

// reporter sends events to the journal under systemd, and to standard error
// elsewhere. With --json, some verbs also send events to standard output.
func (c *call) reporter(l *line) *report.Reporter {
	p := c.process
	errFile := p.ErrFile()
	out, sinks := p.Out, []report.Sink{}
	if l.wants("json") && l.about.events {
		lines := &report.JSONLines{W: p.Out, Now: time.Now, Verbose: l.wants("verbose")}
		out, sinks = lines, append(sinks, lines)
	}
	lines := report.Lines{W: p.Err, Quiet: l.wants("quiet"), Verbose: l.wants("verbose")}
	switch {
	case report.UnderJournal(p.Host.Env, errFile):
		sinks = append(sinks, &report.Journal{Verbose: lines.Verbose, Otherwise: lines}, &report.Notify{})
	case !lines.Quiet && !l.wants("debug") && report.Terminal(p.Host.Env, errFile):
		sinks = append(sinks, &report.Live{Lines: lines, Now: time.Now, Size: func() (int, int) { return report.Size(errFile) }})
	default:
		sinks = append(sinks, &lines)
	}
	return report.New(out, sinks...).Coloured(p.Host.Env, p.OutFile())
}
