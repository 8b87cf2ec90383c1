package tree

import (
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Stage is a build on its way into the tree: a directory beside its place. Until
// it is swapped in the tree has what it had.
type Stage struct {
	// Dir is where the build is put together and, once it is swapped in, what
	// was in its place, if anything was.
	Dir string

	tree   *Writer
	id     ID
	target Target
}

// Stage begins a build, in an empty directory. What interrupted builds of the
// same target have left beside it goes: who changes the tree is alone.
func (t *Writer) Stage(id ID, k Target) (*Stage, error) {
	parent, prefix := filepath.Dir(t.BuildDir(id, k)), StagePrefix+k.Arch+"_"
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	entries, _ := os.ReadDir(parent)
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), prefix); ok && strings.Trim(number, "0123456789") == "" {
			os.RemoveAll(filepath.Join(parent, e.Name()))
		}
	}
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, err
	}
	return &Stage{dir, t, id, k}, nil
}

// Lay makes the directories that a build has.
func (s *Stage) Lay() error {
	for _, sub := range []string{"log", "module"} {
		if err := os.Mkdir(filepath.Join(s.Dir, sub), 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(s.Dir, 0o755)
}

// Modules is the directory that the modules belong into.
func (s *Stage) Modules() string { return filepath.Join(s.Dir, "module") }

// Log is the file that the log of the build belongs into.
func (s *Stage) Log() string { return filepath.Join(s.Dir, "log", "make.log") }

// Module writes a file of the directory of modules.
func (s *Stage) Module(name string, data []byte) error {
	return system.WriteFile(filepath.Join(s.Modules(), name), data, 0o644)
}

// Manifest reads the manifest that came with what was put there, see
// [Tree.Manifest].
func (s *Stage) Manifest() (*Manifest, error) { return manifestIn(s.Dir, s.id, s.target) }

// Save writes the manifest, which gets to know what an earlier build has
// installed: that stays until it is installed over.
func (s *Stage) Save(m *Manifest) error {
	m.Installed = nil
	if old, err := s.tree.Manifest(s.id, s.target); err == nil && old != nil {
		m.Installed = old.Installed
	}
	return m.Save(s.Dir)
}

// Swap puts the build into its place, and the one that was there into Dir.
// Doing it again brings that one back.
func (s *Stage) Swap() error { return system.SwapDir(s.tree.BuildDir(s.id, s.target), s.Dir) }

// Discard deletes what is in Dir, and the directory around it where that is all.
func (s *Stage) Discard() error {
	err := os.RemoveAll(s.Dir)
	os.Remove(filepath.Dir(s.Dir))
	return err
}
