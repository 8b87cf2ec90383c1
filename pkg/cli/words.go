package cli

import (
	"io"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// actions are the action words, with what the help says of them.
var actions = []struct {
	verb Verb
	help string
}{
	{Add, "register the sources of a module"},
	{Build, "build a module for a kernel"},
	{Install, "install it, building it first where needed"},
	{Uninstall, "take it out of the kernel again"},
	{Unbuild, "uninstall it and delete the build"},
	{Remove, "unbuild it and forget it"},
	{Autoinstall, "install everything that is missing"},
	{Status, "list modules, builds and installations"},
	{Check, "is it safe to boot: are all modules of a kernel ready"},
	{Why, "why a module is, or is not, installed for a kernel"},
	{Log, "print the log of the last build of a module"},
	{Doctor, "look for what is wrong, and say what cures it"},
	{Rehearse, "would every module build for a kernel; changes nothing"},
	{Lint, "judge a source directory, for authors of modules"},
	{Match, "install for a kernel what another has"},
	{Mktarball, "write sources and builds into an archive"},
	{Ldtarball, "load such an archive, or one of sources"},
	{Export, "write builds for a kernel as an OCI image"},
	{Import, "take the builds of such an image, and install them"},
	{GenerateMOK, "make the key that signs modules"},
	{MOK, "status: is that key trusted here; enroll: have it trusted"},
	{Sign, "sign what is built with the key in use now"},
	{KernelPreinst, "drop builds before a kernel is replaced"},
	{KernelPostinst, "autoinstall for a kernel just installed"},
	{KernelPrerm, "drop builds before a kernel is removed"},
}

func isAction(word string) bool {
	return slices.ContainsFunc(actions, func(a struct {
		verb Verb
		help string
	}) bool {
		return string(a.verb) == word
	})
}

// isClassic tells the actions of the original. A word that is an action only
// here is a module beside one of them, as it is there.
func isClassic(word string) bool {
	switch Verb(word) {
	case Add, Build, Install, Uninstall, Unbuild, Remove, Autoinstall, Status,
		Match, Mktarball, Ldtarball, GenerateMOK, KernelPreinst, KernelPostinst, KernelPrerm:
		return true
	}
	return false
}

// reportsEvents tells the actions that print their events with --json.
func reportsEvents(word string) bool {
	return word == string(Autoinstall) || word == string(KernelPostinst) || word == string(Import)
}

// request sorts the positional words as the original does: actions, source
// directories, archives, the module.
func (f *flags) request(h system.Host, in io.Reader) (Request, error) {
	req := Request{
		Kernels: f.Kernelver, Arches: f.Arch, Conf: f.Conf, All: f.All, Force: f.Force,
		ForceVersion: f.ForceVersionOverride, NoDepmod: f.NoDepmod, DryRun: f.DryRun, JSON: f.JSON, Quiet: f.Quiet, Fix: f.Fix,
		Template: f.Templatekernel, Modprobe: f.ModprobeOnInstall, SafeUpgrade: f.RpmSafeUpgrade,
		PasswordFile: f.PasswordFile, HashFile: f.HashFile, Archive: f.Archive, Input: in, BinariesOnly: f.BinariesOnly, SourceOnly: f.SourceOnly,
		Format: f.Format, Busybox: f.Busybox, Certificate: f.Certificate, Insecure: f.Insecure,
	}
	if !slices.ContainsFunc(f.Words, isAction) {
		return req, noAction(f.Words)
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
	if req.Verb == MOK && req.Action == "" {
		req.Action = "status"
	}
	return req, f.lostPath(h, &req)
}

// noAction says that no word is an action.
func noAction(words []string) error {
	const list = "dkms --help lists the actions"
	if len(words) == 0 {
		return exit.Errorf(exit.Usage, "no action was given").WithHint(list)
	}
	err := exit.Errorf(exit.Usage, "%s: not an action", words[0]).WithHint(list)
	for _, a := range actions {
		if verb := string(a.verb); strings.HasPrefix(verb, words[0]) || misspelt(words[0], verb) {
			return err.WithHint("dkms %s, perhaps; %s", verb, list)
		}
	}
	return err
}

// misspelt tells words that become the same when a letter is dropped from
// each: one is wrong, missing or too many, or two have changed places.
func misspelt(a, b string) bool {
	drop := func(s string, i int) string { return s[:i] + s[min(i+1, len(s)):] }
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if len(a) > 2 && drop(a, i) == drop(b, j) {
				return true
			}
		}
	}
	return false
}

// lostPath refuses a path that led nowhere, which would be taken for a module.
func (f *flags) lostPath(h system.Host, req *Request) error {
	code := exit.Usage
	switch req.Verb {
	case Add, Build, Install:
	case Lint:
		code = exit.NoConfInDir
	case Ldtarball:
		code = exit.NoSource
	default:
		return nil
	}
	at := slices.IndexFunc(f.Words, isPath)
	switch {
	case at < 0 || req.Source != "" || req.Archive != "":
		return nil
	case !system.IsDir(h.Abs(f.Words[at])):
		return exit.Errorf(code, "%s: no such file or directory", f.Words[at])
	}
	return exit.Errorf(code, "%s: holds no dkms.conf", f.Words[at])
}

// isPath tells words that cannot be meant as a module.
func isPath(word string) bool {
	first, _, _ := strings.Cut(word, "/")
	return strings.HasPrefix(word, "/") || first == "." || first == ".."
}

func setModule(req *Request, word string) {
	name, version, ok := strings.Cut(word, "/")
	req.Name = name
	if ok {
		req.Version = version
	}
}

func classify(h system.Host, req *Request, word string) error {
	path := h.Abs(word)
	switch {
	case isClassic(word) && req.Name == "" && req.Verb != "" && !isClassic(string(req.Verb)) && !(req.Verb == MOK && word == "status"):
		// As in the original, which knows no action of the first name.
		setModule(req, string(req.Verb))
		req.Verb = Verb(word)
	case req.Verb == MOK && req.Action == "":
		if word != "status" && word != "enroll" {
			return exit.Errorf(exit.Usage, "mok %s: unknown", word).WithHint("dkms mok status, or dkms mok enroll")
		}
		req.Action = word
	case isAction(word) && !isClassic(word) && req.Verb != "" && req.Name == "":
		setModule(req, word)
	case isAction(word) && req.Verb != "":
		return exit.Errorf(exit.TwoActions, "two actions were given: %s and %s", req.Verb, word).
			WithHint("a module of that name is given as -m %s", word)
	case isAction(word):
		req.Verb = Verb(word)
	case req.Archive == "" && (req.Verb == Import || strings.HasPrefix(word, "docker://")):
		req.Archive = word
	case req.Verb == Export && req.Name != "":
		req.Others = append(req.Others, word)
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
