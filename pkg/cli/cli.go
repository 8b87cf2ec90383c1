// Package cli is the command line of dkms: it reads the words, turns them
// into one request to the engine and its answer into an exit status.
//
// It guarantees that every spelling that DKMS 3.4.3 takes means the same here.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"dkms/pkg/build"
	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
)

// flags is the command line after [normalize].
type flags struct {
	Words []string `arg:"" optional:"" name:"word"`

	Module     []string `short:"m" sep:"none"`
	Modversion string   `short:"v" placeholder:"VERSION"`
	Kernelver  []string `short:"k" placeholder:"RELEASE" sep:"none"`
	Arch       []string `short:"a" sep:"none"`
	All        bool
	Force      bool
	DryRun     bool    `short:"n"`
	Jobs       *string `short:"j" placeholder:"N"`
	Verbose    bool
	Quiet      bool `short:"q"`
	JSON       bool `name:"json"`
	Fix        bool
	Version    bool `short:"V"`
	Debug      bool

	ForceVersionOverride bool
	NoDepmod             bool
	ModprobeOnInstall    bool
	SymlinkModules       bool
	Conf                 string   `short:"c" placeholder:"FILE"`
	Config               string   `placeholder:"FILE"`
	Kernelsourcedir      string   `placeholder:"DIR"`
	Headers              string   `placeholder:"DIR"`
	Dkmstree             string   `placeholder:"DIR"`
	Sourcetree           string   `placeholder:"DIR"`
	Installtree          string   `placeholder:"DIR"`
	Directive            []string `placeholder:"NAME=VALUE" sep:"none"`
	Archive              string   `placeholder:"FILE"`
	Templatekernel       string   `placeholder:"RELEASE"`
	PasswordFile         string   `placeholder:"FILE"`
	HashFile             string   `placeholder:"FILE"`
	BinariesOnly         bool
	SourceOnly           bool
	Format               string `placeholder:"FORMAT"`
	Busybox              string `placeholder:"FILE"`
	Certificate          string `placeholder:"FILE"`
	Insecure             bool
	RpmSafeUpgrade       bool `name:"rpm_safe_upgrade"`
}

// Streams are what the program reads and where it writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// ErrFile is Err where that is a file, for the journal.
	ErrFile *os.File
}

// Main runs dkms with the words of the command line and returns its exit
// status.
func Main(ctx context.Context, h system.Host, s Streams, words []string) int {
	var f flags
	parser, err := kong.New(&f, kong.Name("dkms"),
		kong.Writers(s.Out, s.Err), kong.Exit(func(int) {}), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintf(s.Err, "dkms: %v\n", err)
		return int(exit.Usage)
	}
	args, deprecated, err := normalize(words)
	switch {
	case err != nil:
	case slices.Contains(args, "--help"):
		usage(parser, s.Out)
		return 0
	default:
		_, err = parser.Parse(args)
	}
	r := f.reporter(h, s)
	defer r.Close()
	if err != nil {
		r.Error(err)
		return int(exit.BadOption)
	}
	if f.Version {
		fmt.Fprintln(s.Out, build.Release)
		return 0
	}
	for _, d := range deprecated {
		r.Warnf("%s does nothing any more", d)
	}
	return int(f.run(ctx, h, s, r))
}

// reporter sends events to the journal under systemd and to standard error
// everywhere else; with --json, those of autoinstall go to standard output too.
func (f *flags) reporter(h system.Host, s Streams) *report.Reporter {
	out, sinks := s.Out, []report.Sink{}
	if f.JSON && slices.ContainsFunc(f.Words, reportsEvents) {
		lines := &report.JSONLines{W: s.Out, Now: time.Now, Verbose: f.Verbose}
		out, sinks = lines, append(sinks, lines)
	}
	lines := report.Lines{W: s.Err, Quiet: f.Quiet, Verbose: f.Verbose}
	switch {
	case report.UnderJournal(h.Env, s.ErrFile):
		sinks = append(sinks, &report.Journal{Verbose: f.Verbose, Otherwise: lines}, &report.Notify{})
	case !f.Quiet && !f.Debug && report.Terminal(h.Env, s.ErrFile):
		sinks = append(sinks, &report.Live{Lines: lines, Now: time.Now, Size: func() (int, int) { return report.Size(s.ErrFile) }})
	default:
		sinks = append(sinks, &lines)
	}
	return report.New(out, sinks...)
}

func (f *flags) run(ctx context.Context, h system.Host, s Streams, r *report.Reporter) exit.Code {
	if len(f.Words) > 0 && strings.HasPrefix(f.Words[0], "packaging-") {
		return packaging(ctx, h, s, r, f.Words)
	}
	req, err := f.request(h, s.In)
	req.Prompt = s.Err
	if err != nil {
		r.Error(err)
		return exit.Status(err)
	}
	settings, err := f.settings()
	if err != nil {
		r.Error(err)
		return exit.Status(err)
	}
	run := system.NewRunner(h)
	if f.Debug {
		run.Trace = report.Clean(s.Err)
	}
	m, err := machine.New(ctx, h, run, r, settings)
	if err != nil {
		r.Error(err)
		return exit.Status(err)
	}
	if m.Framework.Verbose {
		r.Verbose()
	}
	if req.Verb != Autoinstall {
		ctx.Done()
	}
	code, err := do(ctx, m, req)
	if err != nil {
		r.Error(err)
		return exit.Status(err)
	}
	return code
}

func (f *flags) settings() (machine.Settings, error) {
	s := machine.Settings{
		State: f.Dkmstree, Source: f.Sourcetree, Install: f.Installtree,
		Headers: f.Kernelsourcedir, Config: f.Config, Directives: f.Directive, Symlink: f.SymlinkModules,
	}
	if f.Headers != "" {
		s.Headers = f.Headers
	}
	if f.Jobs == nil || *f.Jobs == "" {
		return s, nil
	}
	n, err := strconv.Atoi(*f.Jobs)
	if err == nil && n < 0 {
		err = errors.New("negative")
	}
	if err != nil {
		return s, exit.Errorf(exit.Usage, "-j %s: not a number of jobs", *f.Jobs)
	}
	s.Jobs = &n
	return s, nil
}
