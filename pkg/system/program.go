package system

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// ErrNoProgram is what an error wraps that names a program that is not there.
var ErrNoProgram = errors.New("program not found")

// lookPath finds a program in the directories of path. Without Tools, these are
// directories of the process.
func (t *Tools) lookPath(name, path string) (string, error) {
	if strings.ContainsRune(name, '/') {
		return name, nil
	}
	for dir := range strings.SplitSeq(path, ":") {
		file := filepath.Join(dir, name)
		if st, err := t.stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: %w in %s", name, ErrNoProgram, path)
}

// Find returns the path of the program name, or an error that says that the
// program is not installed.
func (r *Runner) Find(name string) (string, error) {
	return r.tools.lookPath(name, r.base["PATH"])
}

// Stat describes a file among the programs, such as what Find returns.
func (r *Runner) Stat(path string) (fs.FileInfo, error) { return r.tools.stat(path) }

// ELFMachine is the machine of a program, or EM_NONE if it is not there or no
// ELF file.
func (r *Runner) ELFMachine(path string) elf.Machine { return r.tools.elfMachine(path) }

// Identify identifies the file of the program name by its path, inode, size and
// times. It is "" for a program that is not there or is a script, since what a script
// does depends on other files, too.
func (r *Runner) Identify(name string) string {
	path, err := r.Find(name)
	if err != nil || r.ELFMachine(path) == elf.EM_NONE {
		return ""
	}
	info, err := r.Stat(path)
	if err != nil {
		return ""
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprint(path, " ", st.Ino, " ", st.Size, " ", st.Mtim.Nano(), " ", st.Ctim.Nano())
}

// Share makes files and directories of the system visible to the programs,
// which otherwise see only their own if [Host].Tools has others than the system.
func (r *Runner) Share(paths ...string) error { return r.tools.share(paths...) }

// Has reports whether the program name can be started.
func (r *Runner) Has(name string) bool {
	_, err := r.Find(name)
	return err == nil
}
