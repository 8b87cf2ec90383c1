package cli

import (
	"io"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/engine"
	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// actions are the action words, with what the help says of them.
var actions = []struct {
	verb engine.Verb
	help string
}{
	{engine.Add, "register the sources of a module"},
	{engine.Build, "build a module for a kernel"},
	{engine.Install, "install it, building it first where needed"},
	{engine.Uninstall, "take it out of the kernel again"},
	{engine.Unbuild, "uninstall it and delete the build"},
	{engine.Remove, "unbuild it and forget it"},
	{engine.Autoinstall, "install everything that is missing"},
	{engine.Status, "list modules, builds and installations"},
	{engine.Check, "is it safe to boot: are all modules of a kernel ready"},
	{engine.Why, "why a module is, or is not, installed for a kernel"},
	{engine.Log, "print the log of the last build of a module"},
	{engine.Doctor, "look for what is wrong, and say what cures it"},
	{engine.Rehearse, "would every module build for a kernel; changes nothing"},
	{engine.Lint, "judge a source directory, for authors of modules"},
	{engine.Match, "install for a kernel what another has"},
	{engine.Mktarball, "write sources and builds into an archive"},
	{engine.Ldtarball, "load such an archive, or one of sources"},
	{engine.GenerateMOK, "make the key that signs modules"},
	{engine.MOK, "status: is that key trusted here; enroll: have it trusted"},
	{engine.Sign, "sign what is built with the key in use now"},
	{engine.KernelPreinst, "drop builds before a kernel is replaced"},
	{engine.KernelPostinst, "autoinstall for a kernel just installed"},
	{engine.KernelPrerm, "drop builds before a kernel is removed"},
}

var actionsHelp = func() string {
	var b strings.Builder
	b.WriteString("Actions:\n")
	for _, a := range actions {
		b.WriteString("  " + string(a.verb) + strings.Repeat(" ", 17-len(a.verb)) + a.help + "\n")
	}
	return b.String()
}()

func isAction(word string) bool {
	return slices.ContainsFunc(actions, func(a struct {
		verb engine.Verb
		help string
	}) bool {
		return string(a.verb) == word
	})
}

// reportsEvents tells the actions that print their events with --json.
func reportsEvents(word string) bool {
	return word == string(engine.Autoinstall) || word == string(engine.KernelPostinst)
}

// request sorts the positional words as the original does: actions, source
// directories, archives, the module.
func (f *flags) request(h system.Host, in io.Reader) (engine.Request, error) {
	req := engine.Request{
		Kernels: f.Kernelver, Arches: f.Arch, Conf: f.Conf, All: f.All, Force: f.Force,
		ForceVersion: f.ForceVersionOverride, NoDepmod: f.NoDepmod, DryRun: f.DryRun, JSON: f.JSON, Fix: f.Fix,
		Template: f.Templatekernel, Modprobe: f.ModprobeOnInstall, SafeUpgrade: f.RpmSafeUpgrade,
		PasswordFile: f.PasswordFile, HashFile: f.HashFile, Archive: f.Archive, Input: in, BinariesOnly: f.BinariesOnly, SourceOnly: f.SourceOnly,
	}
	for _, m := range f.Module {
		setModule(&req, m)
	}
	if f.Modversion != "" {
		req.Version = f.Modversion
	}
	for _, word := range f.Words {
		if err := classify(h, &req, word); err != nil {
			return req, err
		}
	}
	if req.Verb == engine.MOK && req.Action == "" {
		req.Action = "status"
	}
	if req.Verb == "" {
		return req, exit.Errorf(exit.Usage, "no action was given").WithHint("dkms --help lists the actions")
	}
	return req, nil
}

func setModule(req *engine.Request, word string) {
	name, version, ok := strings.Cut(word, "/")
	req.Name = name
	if ok {
		req.Version = version
	}
}

func classify(h system.Host, req *engine.Request, word string) error {
	path := h.Abs(word)
	switch {
	case req.Verb == engine.MOK && req.Action == "":
		if word != "status" && word != "enroll" {
			return exit.Errorf(exit.Usage, "mok %s: unknown, there are status and enroll", word)
		}
		req.Action = word
	case isAction(word) && req.Verb != "":
		return exit.Errorf(exit.TwoActions, "two actions were given: %s and %s", req.Verb, word)
	case isAction(word):
		req.Verb = engine.Verb(word)
	case strings.HasSuffix(word, "dkms.conf") && system.IsFile(path):
		req.Source = filepath.Dir(path)
	case system.IsFile(filepath.Join(path, "dkms.conf")):
		req.Source = path
	case word == "-" || isArchive(word) && system.IsFile(path):
		req.Archive = word
	case req.Name == "":
		setModule(req, word)
	default:
		return exit.Errorf(exit.Usage, "%s: one module at a time", word).
			WithHint("%s was already named", req.Name)
	}
	return nil
}

// isArchive tells words that can only be meant as a file. The original takes
// any file for an archive, also one that happens to be called like a module.
func isArchive(word string) bool {
	ext := filepath.Ext(word)
	return strings.HasPrefix(word, "/") || strings.HasPrefix(word, "./") || strings.Contains(word, ".tar.") ||
		slices.Contains([]string{".tar", ".tgz", ".txz", ".tbz2", ".tzst", ".rpm"}, ext)
}
