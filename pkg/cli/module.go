package cli

import (
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/run"
	"dkms/pkg/system"
)

// modules are the options that name a module.
type modules struct {
	Module     []string `short:"m" sep:"none" placeholder:"MODULE" help:"Module, or MODULE/VERSION."`
	Modversion string   `short:"v" placeholder:"VERSION" help:"Module version."`
}

// id is a module and its version, if one was given.
type id struct{ name, version string }

func (i *id) set(word string) {
	name, version, ok := strings.Cut(word, "/")
	i.name = name
	if ok {
		i.version = version
	}
}

// with returns the module that the options or word name.
func (m modules) with(word string) (id, error) {
	var i id
	for _, o := range m.Module {
		i.set(o)
	}
	if m.Modversion != "" {
		i.version = m.Modversion
	}
	switch {
	case word == "":
	case i.name != "":
		return i, oneModule(word, i.name)
	default:
		i.set(word)
	}
	return i, nil
}

func oneModule(word, name string) error {
	return exit.Errorf(exit.Usage, "%s: one module at a time", word).WithHint("%s was already named", name)
}

// named is the module of verbs that take no other arguments.
type named struct {
	modules
	Named string `arg:"" optional:"" name:"module/version" help:"The module."`
}

func (n named) id() (id, error) { return n.with(n.Named) }

// sources are the arguments of add, build and install: a module, the directory
// of its sources, or an archive.
type sources struct {
	modules
	archived
	Conf    string   `short:"c" placeholder:"FILE" help:"The dkms.conf to read."`
	Replace bool     `name:"replace" help:"Take these sources in the place of the registered ones."`
	Words   []string `arg:"" optional:"" name:"module/version | directory | archive" help:"The module, its sources or an archive of them."`
}

// place is the argument of verbs that look at one module: the directory of its
// sources, or its name.
type place struct {
	modules
	Where string `arg:"" optional:"" name:"directory | module/version" help:"The sources, or a registered module."`
}

// find tells a directory from a module.
func (p place) find(h system.Host) (s source, err error) {
	word := p.Where
	if word != "" {
		s.dir = sourceDir(h, word)
	}
	if s.dir != "" {
		word = ""
	} else if err := lostPath(h, exit.NoConfInDir, []string{word}); err != nil {
		return s, err
	}
	s.id, err = p.with(word)
	return s, err
}

// source is what the arguments name.
type source struct {
	id
	// dir is a directory with a dkms.conf.
	dir string
	// archive is a file, or - for standard input.
	archive string
	// replace takes the sources in the place of the registered ones.
	replace bool
}

// named converts s for a run.
func (s source) named(c *call, confFile string) run.Named {
	return run.Named{
		Name: s.name, Version: s.version, Source: s.dir, Archive: s.archive, Input: c.process.In, Conf: confFile, Replace: s.replace,
	}
}

// find classifies the words as the original does, in this order: a source
// directory, an archive, the module.
func (s sources) find(h system.Host) (source, error) {
	found := source{archive: s.Archive, replace: s.Replace}
	var err error
	if found.id, err = s.with(""); err != nil {
		return found, err
	}
	for _, word := range s.Words {
		dir := sourceDir(h, word)
		switch {
		case dir != "":
			found.dir = dir
		case isArchive(h, word):
			found.archive = word
		case found.name != "":
			return found, oneModule(word, found.name)
		default:
			found.set(word)
		}
	}
	if s.Replace && found.dir == "" {
		return found, exit.Errorf(exit.Usage, "--replace needs a directory with sources").WithHint("leave it out for sources that are registered")
	}
	if found.dir == "" && found.archive == "" {
		return found, lostPath(h, exit.Usage, s.Words)
	}
	return found, nil
}

// findByRoot is find for the verbs that need root only for a directory, which
// they copy to the source tree. A dry run copies nothing.
func (s sources) findByRoot(c *call, dry bool) (source, error) {
	found, err := s.find(c.host)
	if err == nil && found.dir != "" && !dry {
		err = c.root()
	}
	return found, err
}

// sourceDir returns the directory with a dkms.conf that word names, or "".
func sourceDir(h system.Host, word string) string {
	path := h.Abs(word)
	switch {
	case strings.HasSuffix(word, "dkms.conf") && system.IsFile(path):
		return filepath.Dir(path)
	case system.IsFile(filepath.Join(path, "dkms.conf")):
		return path
	}
	return ""
}

// isArchive reports whether word can only mean a file. The original treats any
// existing file as an archive, even one with the name of a module.
func isArchive(h system.Host, word string) bool {
	return word == "-" || looksLikeArchive(word) && system.IsFile(h.Abs(word))
}

func looksLikeArchive(word string) bool {
	ext := filepath.Ext(word)
	return strings.HasPrefix(word, "/") || strings.HasPrefix(word, "./") || strings.Contains(word, ".tar.") ||
		slices.Contains([]string{".tar", ".tgz", ".txz", ".tbz2", ".tzst", ".rpm"}, ext)
}

// lostPath rejects a path without sources, which would otherwise count as the
// name of a module.
func lostPath(h system.Host, code exit.Code, words []string) error {
	at := slices.IndexFunc(words, isPath)
	switch {
	case at < 0:
		return nil
	case !system.IsDir(h.Abs(words[at])):
		return exit.Errorf(code, "%s: no such file or directory", words[at])
	}
	return exit.Errorf(code, "%s: holds no dkms.conf", words[at]).WithHint("dkms init %s writes one", words[at])
}

// isPath reports whether word cannot mean a module.
func isPath(word string) bool {
	first, _, _ := strings.Cut(word, "/")
	return strings.HasPrefix(word, "/") || first == "." || first == ".."
}
