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
	"time"

	"github.com/alecthomas/kong"

	"dkms/pkg/build"
	"dkms/pkg/engine"
	"dkms/pkg/exit"
	"dkms/pkg/report"
	"dkms/pkg/system"
)

// flags is the command line after [normalize].
type flags struct {
	Words []string `arg:"" optional:"" name:"word" help:"Action, module, module/version, source directory, dkms.conf or archive."`

	Module     []string `short:"m" help:"Module, or MODULE/VERSION." sep:"none"`
	Modversion string   `short:"v" help:"Module version." placeholder:"VERSION"`
	Kernelver  []string `short:"k" help:"Kernel release, or RELEASE/ARCH (repeatable)." placeholder:"RELEASE" sep:"none"`
	Arch       []string `short:"a" help:"Architecture (repeatable)." sep:"none"`
	All        bool     `help:"Every kernel that the module is built for."`
	Force      bool     `help:"Do it again, or over what stands in the way."`
	DryRun     bool     `short:"n" help:"Show what would be done and why."`
	Jobs       *string  `short:"j" help:"Parallel jobs of make; 0 is without limit." placeholder:"N"`
	Verbose    bool     `help:"Say more."`
	Quiet      bool     `short:"q" help:"Say nothing but warnings and errors."`
	JSON       bool     `help:"Print JSON: status, check, why, doctor, mok status, rehearse; events: autoinstall." name:"json"`
	Fix        bool     `help:"doctor: do what is safe."`
	Version    bool     `short:"V" help:"Print the version."`
	Debug      bool     `help:"Show every program that is started."`

	ForceVersionOverride bool     `help:"Install whatever version the kernel has."`
	NoDepmod             bool     `help:"Leave depmod to the caller."`
	ModprobeOnInstall    bool     `help:"Load what devices ask for after installing."`
	SymlinkModules       bool     `help:"Install links into the dkms tree."`
	Conf                 string   `short:"c" help:"The dkms.conf to read." placeholder:"FILE"`
	Config               string   `help:"Kernel configuration file." placeholder:"FILE"`
	Kernelsourcedir      string   `help:"Kernel headers directory." placeholder:"DIR"`
	Headers              string   `help:"rehearse: the same." placeholder:"DIR"`
	Dkmstree             string   `help:"Directory of the dkms tree." placeholder:"DIR"`
	Sourcetree           string   `help:"Directory of the module sources." placeholder:"DIR"`
	Installtree          string   `help:"Directory of the kernels' modules." placeholder:"DIR"`
	Directive            []string `help:"Set a directive of every dkms.conf." placeholder:"NAME=VALUE" sep:"none"`
	Archive              string   `help:"Tarball to write or load." placeholder:"FILE"`
	Templatekernel       string   `help:"Kernel whose modules match installs." placeholder:"RELEASE"`
	PasswordFile         string   `help:"mok enroll: file with the password to confirm with." placeholder:"FILE"`
	HashFile             string   `help:"mok enroll: file with its hash, as mokutil makes it." placeholder:"FILE"`
	BinariesOnly         bool     `help:"mktarball: leave out the sources."`
	SourceOnly           bool     `help:"mktarball: leave out the builds."`
	Format               string   `help:"export: oci, a directory, or tar." placeholder:"FORMAT"`
	Busybox              string   `help:"export: static busybox for the image, or none." placeholder:"FILE"`
	Certificate          string   `help:"import: certificates that builds may be signed with." placeholder:"FILE"`
	Insecure             bool     `help:"import: from a registry without TLS, or with any certificate."`
	RpmSafeUpgrade       bool     `help:"Guard against rpm removing what it has just upgraded." name:"rpm_safe_upgrade"`
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
	parser, err := kong.New(&f, kong.Name("dkms"), kong.Description("Build, sign and install out-of-tree kernel modules.\n\n"+actionsHelp),
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

func usage(parser *kong.Kong, w io.Writer) {
	parser.Stdout = w
	if k, err := kong.Trace(parser, nil); err == nil {
		k.PrintUsage(false)
	}
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
		run.Trace = s.Err
	}
	e, err := engine.New(ctx, h, run, r, settings)
	if err != nil {
		r.Error(err)
		return exit.Status(err)
	}
	if e.Framework().Verbose {
		r.Verbose()
	}
	return e.Do(ctx, req)
}

func (f *flags) settings() (engine.Settings, error) {
	s := engine.Settings{
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
