package index

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// search is depmod's configuration for choosing among several files of one
// module name.
type search struct {
	words []string // the directories in order of preference, with builtIn for the rest
	lines int
	// overridden are the names of modules with an override of their own.
	overridden []string
}

const (
	builtIn = "built-in"
	// maxConfig bounds a file of depmod's configuration, in bytes.
	maxConfig = 1 << 20
)

// config reads depmod's configuration. It supports search and override; any
// other directive that changes the set of files is left to depmod.
func (t *Tree) config() (*search, error) {
	s := &search{}
	seen := map[string]bool{}
	for _, dir := range t.Config {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := e.Name()
			if !strings.HasSuffix(name, ".conf") || strings.HasPrefix(name, ".") {
				continue
			}
			path := filepath.Join(dir, name)
			if seen[name] {
				return nil, doubt("%s has the name of another file of depmod's configuration", path)
			}
			seen[name] = true
			if err := s.read(path); err != nil {
				return nil, err
			}
		}
	}
	if s.lines == 0 {
		s.words = []string{"updates"}
	}
	return s, nil
}

func (s *search) read(path string) error {
	data, err := system.ReadRegular(path, maxConfig)
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		switch {
		case strings.Contains(line, `\`):
			return doubt("%s has a line that goes on in the next", path)
		case len(words) == 0:
		case words[0] == "search":
			s.words = words[1:]
			s.lines++
		case words[0] == "override" && len(words) > 1:
			s.overridden = append(s.overridden, words[1])
		case words[0] != "make_map_files" && words[0] != "include":
			return doubt("%s says %s", path, words[0])
		}
	}
	return nil
}

// better reports whether depmod prefers file a to file b of the same name.
// Where the configuration does not decide, depmod would take the order of a
// directory, so the result is not proven.
func (s *search) better(a, b string) (bool, error) {
	for _, path := range []string{a, b} {
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		if slices.Contains(s.overridden, name) {
			return false, doubt("depmod's configuration has an override for %s", name)
		}
	}
	rankA, okA := s.rank(a)
	rankB, okB := s.rank(b)
	if s.lines > 1 || !okA || !okB || rankA == rankB {
		return false, doubt("%s and %s are of one name", a, b)
	}
	return rankA < rankB, nil
}

// rank returns the position of a file in the search order. Versions of depmod
// disagree about a word that matches the file's directory only up to the middle
// of a name; ok is false then.
func (s *search) rank(path string) (rank int, ok bool) {
	rank = slices.Index(s.words, builtIn)
	if rank < 0 {
		rank = len(s.words)
	}
	matches := 0
	for i, word := range s.words {
		if word == builtIn || !strings.HasPrefix(path, word) {
			continue
		}
		if !strings.HasPrefix(path, word+"/") {
			return 0, false
		}
		rank = i
		matches++
	}
	return rank, matches < 2 && !slices.Contains(s.words, "external")
}
