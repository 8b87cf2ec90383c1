package build

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
	"dkms/pkg/tree"
)

const symversName = "Module.symvers"

// maxSymvers bounds the list of symbols that a module exports, in bytes.
const maxSymvers = 16 << 20

// extraSymbols tells Kbuild where to find the exported symbols of the modules
// that this module builds on (Documentation/kbuild/modules.rst,
// KBUILD_EXTRA_SYMBOLS). Entries of the administrator or the package come
// first.
func (w *work) extraSymbols() {
	const name = "KBUILD_EXTRA_SYMBOLS"
	files := strings.Fields(w.env[name])
	for _, id := range w.dependencies() {
		if file := w.symversOf(id); system.IsFile(file) && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	if len(files) > 0 {
		w.env[name] = strings.Join(files, " ")
	}
}

// dependencies are the versions, visible to this build, of the modules that
// BUILD_DEPENDS names or matches.
func (w *work) dependencies() []tree.ID {
	names, _ := w.Tree.Names()
	var list []tree.ID
	for _, pattern := range w.Conf.BuildDepends {
		for _, name := range names {
			if ok, err := filepath.Match(pattern, name); err != nil || !ok || name == w.ID.Name {
				continue
			}
			if v := w.Tree.Newest(name, w.target()); v != "" {
				list = append(list, tree.ID{Name: name, Version: v})
			}
		}
	}
	return list
}

// symversOf is the path of the kept symbols of a build for the same kernel.
func (w *work) symversOf(id tree.ID) string {
	return filepath.Join(w.Tree.Modules(id, w.target()), symversName)
}

// gatherSymvers makes one list of the symbols of a build that works in several
// directories, if make has left no list at the top: only the list at the top is
// kept.
func (w *work) gatherSymvers() error {
	if _, err := os.Lstat(filepath.Join(w.scratch.real, symversName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var all []string
	for _, r := range w.records {
		file, err := w.outside(filepath.Join(w.scratch.dir, r.BuiltLocation, symversName))
		if err != nil {
			continue
		}
		data, err := system.ReadRegular(file, maxSymvers)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(data) {
			all = append(all, string(bytes.TrimRight(line, "\n")))
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	text := strings.Join(slices.Compact(all), "\n") + "\n"
	f, err := os.OpenFile(filepath.Join(w.scratch.real, symversName), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// exporter finds a module with a build for the same kernel that exports the
// symbol that modpost misses, and says what to do; "" means that there is none.
func (w *work) exporter(lines []string) string {
	symbol := missingSymbol(lines)
	if symbol == "" {
		return ""
	}
	versions, err := w.Tree.All()
	if err != nil {
		return ""
	}
	for _, v := range versions {
		if v.ID.Name == w.ID.Name || !exports(w.symversOf(v.ID), symbol) {
			continue
		}
		return fmt.Sprintf("%s has the symbol %s: BUILD_DEPENDS[%d]=%s in dkms.conf makes it known", v.ID, symbol, len(w.Conf.BuildDepends), v.ID.Name)
	}
	return ""
}

// missingSymbol is the symbol in a line of modpost such as ERROR: modpost:
// "NAME" [FILE.ko] undefined!
func missingSymbol(lines []string) string {
	for _, line := range lines {
		if !strings.HasSuffix(line, "] undefined!") {
			continue
		}
		if parts := strings.SplitN(line, `"`, 3); len(parts) == 3 {
			return parts[1]
		}
	}
	return ""
}

// exports tells whether a list of symbols contains symbol: a line of the list
// is a checksum, the symbol and more fields.
func exports(file, symbol string) bool {
	data, err := system.ReadRegular(file, maxSymvers)
	if err != nil {
		return false
	}
	for scan := bufio.NewScanner(bytes.NewReader(data)); scan.Scan(); {
		if fields := strings.Fields(scan.Text()); len(fields) > 1 && fields[1] == symbol {
			return true
		}
	}
	return false
}
