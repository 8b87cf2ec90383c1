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

// packing is the part of a build that strips, signs, compresses and records
// what was compiled.
type packing struct{ *work }

// recheck records the modules as POST_BUILD has left them. If POST_BUILD has
// replaced a directory by a link, recheck writes nothing: the link may lead
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

// clean makes the directory of a build, as POST_BUILD has left it, safe for
// root to read, sign and install from without another check. Plain files that a
// package adds for others stay. Links go, because whoever follows a link
// publishes its target; modules that the build does not have and files that are
// not plain go, too.
func (w packing) clean(m *tree.Manifest, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return system.Walk(root, func(name string, st fs.FileInfo) error {
		why := unwanted(m, name, st)
		switch {
		case why == "" && st.IsDir():
			return root.Chmod(name, 0o755)
		case why == "":
			return root.Chmod(name, 0o644|st.Mode().Perm()&0o111)
		case why != ours:
			w.Report.Warnf("%s: POST_BUILD has left %s, %s; it is deleted", w.ID, filepath.Join(dir, name), why)
		}
		return root.Remove(name)
	})
}

// ours is the reason to remove a hidden file without a warning: this program
// will write the file again.
const ours = "a record of this program"

// unwanted is the reason to remove a file that POST_BUILD has left in the
// directory of a build; with "", the file stays. The log has a second name
// until it is finished, and is put back in its place then.
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
