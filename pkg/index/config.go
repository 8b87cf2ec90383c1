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

// search is the configuration that decides which of several files of one name
// the index is about.
type search struct {
	words []string // the directories that come first, and builtIn
	lines int
	// overridden are the names of modules that have a rule of their own.
	overridden []string
}

const (
	builtIn = "built-in"
	// maxConfig bounds a file of depmod's configuration, in bytes.
	maxConfig = 1 << 20
)

// config reads depmod's configuration. What changes the set of files beyond
// the tree and its names is left to depmod.
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

// better tells whether of two files of one name the first counts. Where the
// configuration does not tell, the order of a directory would decide.
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

// rank is the place of a file in the order of the search. Words that are the
// beginning of the file's directory, but not all of its name, mean different
// things to different versions of depmod.
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
