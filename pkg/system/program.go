package system

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
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
