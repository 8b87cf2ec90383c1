package build

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"dkms/pkg/exit"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// packing is the part of a build that makes of what was compiled what is kept:
// stripped, signed, compressed and on record.
type packing struct{ *work }

// recheck puts on record what POST_BUILD has made of the modules. Where it has
// put links in the place of directories nothing is written: they may lead
// anywhere.
func (w packing) recheck(m *tree.Manifest, dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, "module"), filepath.Join(dir, "log")} {
		if st, err := os.Lstat(d); err != nil || !st.IsDir() {
			return w.failed(exit.NoModule, fmt.Errorf("POST_BUILD has left no directory %s", d))
		}
	}
	if err := w.clean(m, dir); err != nil {
		return err
	}
	for i, f := range m.Files {
		path := filepath.Join(dir, "module", f.Name)
		if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
			return w.failed(exit.NoModule, fmt.Errorf("POST_BUILD has left no %s", f.Name))
		}
		data, err := system.ReadPlain(path, maxModule)
		if err != nil {
			return err
		}
		if sum := digest(data); sum != f.SHA256 {
			m.Files[i].SHA256, m.Files[i].Size = sum, int64(len(data))
			if w.Signer != nil {
				w.Report.Warnf("%s: POST_BUILD has changed %s after it was signed", w.ID, f.Name)
			}
		}
	}
	m.Unfinished = false
	return m.Save(dir)
}

// clean makes of what POST_BUILD has left in the directory of a build what root
// may read, sign and install without a second look. Plain files that a package
// adds for others stay; links, other modules than those of the build, and what
// is no file at all go: whoever follows such a link publishes what it leads to.
func (w packing) clean(m *tree.Manifest, dir string) error {
	root, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	around, err := os.ReadDir(root.Name())
	if err != nil {
		return err
	}
	look := func(root *os.Root, name string, st fs.FileInfo) error {
		why := unwanted(m, name, st)
		switch {
		case why == "" && st.IsDir():
			return root.Chmod(name, 0o755)
		case why == "":
			return root.Chmod(name, 0o644|st.Mode().Perm()&0o111)
		case why != ours:
			w.Report.Warnf("%s: POST_BUILD has left %s, %s; it is deleted", w.ID, filepath.Join(root.Name(), name), why)
		}
		return root.Remove(name)
	}
	build, err := root.OpenRoot(filepath.Base(dir))
	if err != nil {
		return err
	}
	defer build.Close()
	if err := system.Walk(build, func(name string, st fs.FileInfo) error { return look(build, name, st) }); err != nil {
		return err
	}
	for _, e := range around {
		if st, err := root.Lstat(e.Name()); err == nil && !st.IsDir() { // a directory is another build
			if err := look(root, e.Name(), st); err != nil {
				return err
			}
		}
	}
	return nil
}

// ours is why a hidden file goes without a word: it is to be written again.
const ours = "a record of this program"

// unwanted says why something that POST_BUILD has left in the directory of a
// build does not stay; empty is that it does. The log has a second name until it
// is finished, and is put in its place then.
func unwanted(m *tree.Manifest, name string, st fs.FileInfo) string {
	_, _, isModule := module.ParseSuffix(filepath.Base(name))
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case st.IsDir():
		return ""
	case !st.Mode().IsRegular():
		return "which is no file"
	case name == filepath.Join("log", "make.log"):
		return ""
	case strings.HasPrefix(name, "."):
		return ours
	case ok && sys.Nlink > 1:
		return "which is a file of somewhere else, too"
	case isModule && filepath.Dir(name) == "module" && !slices.ContainsFunc(m.Files, func(f tree.File) bool { return f.Name == filepath.Base(name) }):
		return "which is no module of its dkms.conf"
	}
	return ""
}
