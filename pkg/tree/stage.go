package tree

import (
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Stage is a build that is not in the tree yet: a directory beside the final
// place of the build. Until [Stage.Swap], the tree keeps its earlier content.
type Stage struct {
	// Dir is the directory in which the build is assembled. After the swap, Dir
	// holds the previous build, if there was one.
	Dir string

	tree   *Writer
	id     ID
	target Target
	// swapped says that Dir holds the previous build.
	swapped bool
}

// Stage starts a build in an empty directory. It deletes what interrupted
// builds of the same target have left: no other process changes the tree.
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
	return &Stage{Dir: dir, tree: t, id: id, target: k}, nil
}

// Lay makes the directories of a build.
func (s *Stage) Lay() error {
	for _, sub := range []string{"log", "module"} {
		if err := os.Mkdir(filepath.Join(s.Dir, sub), 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(s.Dir, 0o755)
}

// Modules is the directory for the modules.
func (s *Stage) Modules() string { return filepath.Join(s.Dir, "module") }

// Log is the path for the log of the build.
func (s *Stage) Log() string { return filepath.Join(s.Dir, "log", "make.log") }

// Module writes a file into the directory of modules.
func (s *Stage) Module(name string, data []byte) error {
	return system.WriteFile(filepath.Join(s.Modules(), name), data, 0o644)
}

// Manifest reads the manifest in the stage, see [Tree.Manifest].
func (s *Stage) Manifest() (*Manifest, error) { return manifestIn(s.Dir, s.id, s.target) }

// Save writes the manifest. The list of installed files comes from the manifest
// of the earlier build: those files stay until they are installed over.
func (s *Stage) Save(m *Manifest) error {
	m.Installed = nil
	if old, err := s.tree.Manifest(s.id, s.target); err == nil && old != nil {
		m.Installed = old.Installed
	}
	return m.Save(s.Dir)
}

// Swap exchanges the build in the tree and the one in Dir. A second Swap brings
// the previous build back.
func (s *Stage) Swap() error {
	err := system.SwapDir(s.tree.BuildDir(s.id, s.target), s.Dir)
	if err == nil {
		s.swapped = !s.swapped
	}
	return err
}

// Discard deletes Dir, and its parent directory if that is empty then. After a
// swap, Dir is a build that becomes a previous one if it was ever installed.
func (s *Stage) Discard() error {
	if s.swapped {
		s.tree.retire(s.Dir, s.id, s.target)
	}
	err := os.RemoveAll(s.Dir)
	os.Remove(filepath.Dir(s.Dir))
	return err
}
