package cli

import (
	"slices"

	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// verb is a verb of the command line. Its type declares its options and words
// for kong; everything about the verb is in the file of its name.
type verb interface {
	about() about
	Run(*call) error
}

// about describes a verb without running it.
type about struct {
	// name is the word, or the two words, of the verb.
	name string
	// help says in one line what the verb does.
	help string
	// examples are command lines, without "dkms".
	examples [2]string
	// needs says who may run the verb, unless everybody may.
	needs string
	// everyday marks the verbs that dkms without a word lists.
	everyday bool
	// original marks the actions of DKMS 3.4.3. Beside an original action, a
	// word that is a verb only here means a module, as in DKMS 3.4.3.
	original bool
	// instead is a verb that takes a module, where this verb takes none.
	instead string
	// hidden marks verbs for programs, which no list shows.
	hidden bool
	// running says that the verb is about the running machine, and not about
	// its files, so that it has no meaning for the system of --root.
	running bool
	// events says that --json prints events as they happen.
	events bool
}

// verbs lists the verbs in the order of the help. Every verb needs a line here.
func verbs() []verb {
	return []verb{
		&addVerb{},
		&buildVerb{},
		&installVerb{},
		&uninstallVerb{},
		&unbuildVerb{},
		&removeVerb{},
		&gcVerb{},
		&undoVerb{},
		&autoinstallVerb{},
		&listVerb{},
		&statusVerb{},
		&checkVerb{},
		&whyVerb{},
		&logVerb{},
		&historyVerb{},
		&doctorVerb{},
		&rehearseVerb{},
		&initVerb{},
		&lintVerb{},
		&matchVerb{},
		&mktarballVerb{},
		&ldtarballVerb{},
		&exportVerb{},
		&importVerb{},
		&generateMOKVerb{},
		&mokStatusVerb{},
		&mokEnrollVerb{},
		&signVerb{},
		&kernelPreinstVerb{},
		&kernelPostinstVerb{},
		&kernelPrermVerb{},
		&packagingInstalledVerb{},
		&packagingRemovedVerb{},
		&versionVerb{},
	}
}

// everyVerb are the options that each verb takes.
type everyVerb struct {
	Verbose         bool     `help:"Say more."`
	Quiet           bool     `short:"q" help:"Say nothing but warnings and errors."`
	Debug           bool     `help:"Show every program that is started."`
	Dkmstree        string   `placeholder:"DIR" help:"Directory of the dkms tree."`
	Sourcetree      string   `placeholder:"DIR" help:"Directory of the module sources."`
	Installtree     string   `placeholder:"DIR" help:"Directory of the kernels' modules."`
	Kernelsourcedir string   `placeholder:"DIR" help:"Kernel headers directory."`
	Config          string   `placeholder:"FILE" help:"Kernel configuration file."`
	Root            string   `name:"root" placeholder:"DIR" help:"Work on the system below DIR, which does not run."`
	Toolchain       string   `name:"toolchain" placeholder:"host|root|DIR" help:"With --root: whose make and compiler build modules."`
	Directive       []string `sep:"none" placeholder:"NAME=VALUE" help:"Set a directive of every dkms.conf (repeatable)."`
}

// kernels are the options that select kernels.
type kernels struct {
	Kernelver []string `short:"k" sep:"none" placeholder:"RELEASE" help:"Kernel release, or RELEASE/ARCH (repeatable)."`
	Arch      []string `short:"a" sep:"none" help:"Architecture (repeatable)."`
}

func (k kernels) choice() machine.Choice {
	return machine.Choice{Kernels: k.Kernelver, Arches: k.Arch}
}

// anyKernels are the options of verbs that can select all kernels.
type anyKernels struct {
	kernels
	AllKernels bool `name:"all-kernels" help:"Every kernel of this machine."`
}

func (k anyKernels) choice() machine.Choice {
	c := k.kernels.choice()
	c.Every = k.AllKernels
	return c
}

// dryRun is the option of verbs that change something.
type dryRun struct {
	DryRun bool `name:"dry-run" short:"n" help:"Show what would be done and why."`
}

// dryAnyway is the option of verbs that change nothing, so that a dry run is
// the same as a run.
type dryAnyway struct {
	DryRun bool `name:"dry-run" short:"n" hidden:""`
}

// byRoot is the option of verbs whose changes only root may make.
type byRoot struct{ dryRun }

func (r byRoot) needsRoot() bool { return !r.DryRun }

// jsonOutput is the option of verbs that can print JSON.
type jsonOutput struct {
	JSON bool `name:"json" help:"Print JSON, see dkms-json(5)."`
}

// forced is the option --force, for verbs that otherwise skip or refuse work.
type forced struct {
	Force bool `help:"Do it again, or over what stands in the way."`
}

// jobs are the options of verbs that compile.
type jobs struct {
	Jobs *string  `short:"j" placeholder:"N" help:"Parallel jobs of make; 0 is without limit."`
	Env  []string `name:"env" sep:"none" placeholder:"NAME=VALUE" help:"A variable for dkms.conf and the build (repeatable)."`
}

// signing is the option of verbs whose builds are signed.
type signing struct {
	Sign string `name:"sign" placeholder:"never|host-key|later" help:"Whose key signs the modules, if any."`
}

// indexing is the option of verbs that change installed modules.
type indexing struct {
	NoDepmod bool `help:"Leave depmod to the caller."`
}

// installing are the options of verbs that install.
type installing struct {
	indexing
	ForceVersionOverride bool `help:"Install whatever version the kernel has."`
	ModprobeOnInstall    bool `help:"Load what devices ask for after installing."`
	SymlinkModules       bool `help:"Install links into the dkms tree."`
}

// options returns the options of a run that installs.
func (i installing) options(dry, force, safe bool) run.Options {
	return run.Options{
		DryRun: dry, Force: force, ForceVersion: i.ForceVersionOverride, NoDepmod: i.NoDepmod, Modprobe: i.ModprobeOnInstall, SafeUpgrade: safe,
	}
}

// safeUpgrade is the option of verbs that scripts of RPM packages call.
type safeUpgrade struct {
	RpmSafeUpgrade bool `name:"rpm_safe_upgrade" help:"Guard against rpm removing what it has just upgraded."`
}

// archived is the option of verbs that read or write an archive.
type archived struct {
	Archive string `placeholder:"FILE" help:"The archive."`
}

// allKernels is the option of verbs that remove or pack builds.
type allKernels struct {
	All bool `help:"Every kernel that the module is built for."`
}

// ignoresAll is for the actions for which DKMS 3.4.3 accepts --all without a
// meaning.
type ignoresAll struct {
	All bool `hidden:""`
}

// belongsTo lists the verbs that declare an option.
func belongsTo(option string) []string {
	var names []string
	for _, v := range verbs() {
		if slices.ContainsFunc(optionsOf(v), func(s spelling) bool { return s.name == option }) {
			names = append(names, v.about().name)
		}
	}
	return names
}
