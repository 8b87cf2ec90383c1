package tree

import (
	"os"
	"path/filepath"

	"dkms/pkg/system"
)

// Stage is a build on its way into the tree: a directory beside its place.
type Stage struct {
	tree   *Tree
	id     ID
	target Target
	dir    string
}

// Stage begins a build that is put together from files. Until it is kept the
// tree has what it had.
func (t *Tree) Stage(id ID, k Target) (*Stage, error) {
	place := t.BuildDir(id, k)
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(place), StagePrefix+k.Arch+"_")
	if err != nil {
		return nil, err
	}
	s := &Stage{t, id, k, dir}
	for _, sub := range []string{"module", "log"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			s.Discard()
			return nil, err
		}
	}
	return s, nil
}

// Module writes a file of the directory of modules.
func (s *Stage) Module(name string, data []byte) error {
	return system.WriteFile(filepath.Join(s.dir, "module", name), data, 0o644)
}

// Log writes the log.
func (s *Stage) Log(data []byte) error {
	return system.WriteFile(filepath.Join(s.dir, "log", "make.log"), data, 0o644)
}

// Keep puts the build into its place with the manifest m, which gets to know
// what an earlier build has installed: that stays until it is installed over.
func (s *Stage) Keep(m *Manifest) error {
	if old, err := s.tree.Manifest(s.id, s.target); err == nil && old != nil {
		m.Installed = old.Installed
	}
	if err := m.Save(s.dir); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	return system.SwapDir(s.tree.BuildDir(s.id, s.target), s.dir)
}

// Discard deletes what was staged or, after Keep, replaced.
func (s *Stage) Discard() {
	os.RemoveAll(s.dir)
	s.tree.tidyKernel(s.id, s.target)
}
