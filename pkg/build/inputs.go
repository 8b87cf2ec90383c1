package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/conf"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Inputs finds the inputs of builds. It changes nothing.
type Inputs struct {
	Host      system.Host
	Tree      *tree.Tree
	Run       *system.Runner
	Framework *conf.Framework
	// Environment is the file that build_environment names; the variables that
	// it exports are added to the environment of the build.
	Environment string
	// Directives are the names and values of --directive. The scripts and make
	// see them in their environment.
	Directives map[string]string
}

// Sources are the files on this machine that builds of a module version are
// made from, as [SourcesOf] found them.
type Sources struct {
	id tree.ID
	// dirs are included with all their contents, files one by one. A dir that
	// ends in /. may be a link.
	dirs, files []string
}

// SourcesOf finds the sources of a registered version and the files that
// /etc/dkms adds for a target. etc are the names of the files in /etc/dkms;
// with nil, SourcesOf reads the directory.
func SourcesOf(t *tree.Tree, id tree.ID, k tree.Target, etc []string) *Sources {
	s := &Sources{id: id, dirs: []string{t.SourceLink(id) + "/."}}
	if etc != nil && !slices.ContainsFunc(etc, func(name string) bool { return strings.HasPrefix(name, id.Name) }) {
		return s
	}
	above := t.Root().Path("/etc/dkms")
	s.files = conf.OverrideFiles(above, id.Name, id.Version, k.Kernel, k.Arch)
	if patches := filepath.Join(above, id.Name); system.IsDir(patches) {
		s.dirs = append(s.dirs, patches)
	}
	return s
}

// Key is the same for two targets if their sources are the same files.
func (s *Sources) Key() string {
	return strings.Join(append(slices.Clone(s.dirs), s.files...), "\x00")
}

// Digest is a digest of the contents of the sources.
func (s *Sources) Digest() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "sources 1\n%s\n", s.id)
	for _, dir := range s.dirs {
		if err := digestTree(h, dir); err != nil {
			return "", err
		}
	}
	for _, file := range s.files {
		if err := digestFile(h, filepath.Base(file), file); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
