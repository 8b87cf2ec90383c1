package cli

import (
	"slices"

	"dkms/pkg/machine"
	"dkms/pkg/run"
)

// verb is one thing that dkms can be asked for. Its type declares the options
// and words for kong; everything about it is in the file of its name.
type verb interface {
	about() about
	Run(*call) error
}

// about is what can be told of a verb without running it.
type about struct {
	// name is the word that calls the verb, or the two words.
	name string
	// help says in a line what the verb does.
	help string
	// examples are command lines, without "dkms".
	examples [2]string
	// needs says who may run the verb, where that is not everybody.
	needs string
	// everyday verbs are those that dkms without a word shows.
	everyday bool
	// original verbs are actions of DKMS 3.4.3. A word that is a verb only
	// here is a module beside one of them, as it is there.
	original bool
	// instead is the verb to name a module to, where this one takes none.
	instead string
	// hidden verbs are for programs only, and in no list.
	hidden bool
	// events says that --json prints what happens, as it happens.
	events bool
}

// verbs lists the verbs in the order of the help. A verb joins dkms by a line
// here.
func verbs() []verb {
	return []verb{
		&addVerb{},
		&buildVerb{},
		&installVerb{},
		&uninstallVerb{},
		&unbuildVerb{},
		&removeVerb{},
		&autoinstallVerb{},
		&listVerb{},
		&statusVerb{},
		&checkVerb{},
		&whyVerb{},
		&logVerb{},
		&doctorVerb{},
		&rehearseVerb{},
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
	Verbose         bool     `kong:"" help:"Say more."`
	Quiet           bool     `kong:"short='q'" help:"Say nothing but warnings and errors."`
	Debug           bool     `kong:"" help:"Show every program that is started."`
	Dkmstree        string   `kong:"placeholder='DIR'" help:"Directory of the dkms tree."`
	Sourcetree      string   `kong:"placeholder='DIR'" help:"Directory of the module sources."`
	Installtree     string   `kong:"placeholder='DIR'" help:"Directory of the kernels' modules."`
	Kernelsourcedir string   `kong:"placeholder='DIR'" help:"Kernel headers directory."`
	Config          string   `kong:"placeholder='FILE'" help:"Kernel configuration file."`
	Directive       []string `kong:"sep='none',placeholder='NAME=VALUE'" help:"Set a directive of every dkms.conf (repeatable)."`
}

// kernels are the kernels that a verb is about.
type kernels struct {
	Kernelver []string `kong:"short='k',sep='none',placeholder='RELEASE'" help:"Kernel release, or RELEASE/ARCH (repeatable)."`
	Arch      []string `kong:"short='a',sep='none'" help:"Architecture (repeatable)."`
}

func (k kernels) choice() machine.Choice {
	return machine.Choice{Kernels: k.Kernelver, Arches: k.Arch}
}

// anyKernels are the kernels of a verb that can be about all of them.
type anyKernels struct {
	kernels
	AllKernels bool `kong:"name='all-kernels'" help:"Every kernel of this machine."`
}

func (k anyKernels) choice() machine.Choice {
	c := k.kernels.choice()
	c.Every = k.AllKernels
	return c
}

// dryRun is the option of verbs that change something.
type dryRun struct {
	DryRun bool `kong:"name='dry-run',short='n'" help:"Show what would be done and why."`
}

// dryAnyway is the option of verbs that change nothing: a dry run of them is
// the same.
type dryAnyway struct {
	DryRun bool `kong:"name='dry-run',short='n',hidden"`
}

// byRoot is the option of verbs that change what only root may change.
type byRoot struct{ dryRun }

func (r byRoot) needsRoot() bool { return !r.DryRun }

// jsonOutput is the option of verbs that can print JSON.
type jsonOutput struct {
	JSON bool `kong:"name='json'" help:"Print JSON, see dkms(8)."`
}

// forced is the option of verbs that can be told to do it all the same.
type forced struct {
	Force bool `kong:"" help:"Do it again, or over what stands in the way."`
}

// jobs are the options of verbs that compile.
type jobs struct {
	Jobs *string  `kong:"short='j',placeholder='N'" help:"Parallel jobs of make; 0 is without limit."`
	Env  []string `kong:"name='env',sep='none',placeholder='NAME=VALUE'" help:"A variable for dkms.conf and the build (repeatable)."`
}

// indexing is the option of verbs that change what is installed.
type indexing struct {
	NoDepmod bool `kong:"" help:"Leave depmod to the caller."`
}

// installing are the options of verbs that install.
type installing struct {
	indexing
	ForceVersionOverride bool `kong:"" help:"Install whatever version the kernel has."`
	ModprobeOnInstall    bool `kong:"" help:"Load what devices ask for after installing."`
	SymlinkModules       bool `kong:"" help:"Install links into the dkms tree."`
}

// options are those of a run that installs.
func (i installing) options(dry, force, safe bool) run.Options {
	return run.Options{
		DryRun: dry, Force: force, ForceVersion: i.ForceVersionOverride, NoDepmod: i.NoDepmod, Modprobe: i.ModprobeOnInstall, SafeUpgrade: safe,
	}
}

// safeUpgrade is the option of verbs that scripts of RPM packages call.
type safeUpgrade struct {
	RpmSafeUpgrade bool `kong:"name='rpm_safe_upgrade'" help:"Guard against rpm removing what it has just upgraded."`
}

// archived is the option of verbs that read or write an archive.
type archived struct {
	Archive string `kong:"placeholder='FILE'" help:"The archive."`
}

// allKernels is the option of verbs that take away or pack.
type allKernels struct {
	All bool `kong:"" help:"Every kernel that the module is built for."`
}

// ignoresAll is for the actions that accept --all in DKMS 3.4.3, where it
// means nothing.
type ignoresAll struct {
	All bool `kong:"hidden"`
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
