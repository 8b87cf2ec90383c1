//go:build differential

package differential

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

// snapshot is what a machine holds, by path: a word or two that are equal on
// both machines if the files are.
type snapshot map[string]string

// watched are the directories that commands change.
var watched = []string{"var/lib/dkms", "usr/lib/modules", "usr/src", "var/tmp"}

func (m *machine) snapshot() (snapshot, error) {
	s := snapshot{}
	for _, dir := range watched {
		err := filepath.WalkDir(filepath.Join(m.root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(m.root, path)
			switch {
			case err != nil:
				return err
			case ours(d) && d.IsDir():
				return fs.SkipDir
			case ours(d):
				return nil
			case strings.HasPrefix(d.Name(), "linux-headers-"):
				return fs.SkipDir
			}
			if s[name], err = describe(path, d); err == nil && strings.HasSuffix(name, ".tar.gz") {
				err = s.unpack(name, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// ours tells the hidden files that our dkms adds and the original passes over.
func ours(d fs.DirEntry) bool {
	return slices.Contains([]string{".manifest.json", ".log", ".lock", ".lock1", ".history", ".kept", ".rehearsed", ".restored"}, d.Name()) ||
		strings.HasPrefix(d.Name(), ".failure-") || strings.HasPrefix(d.Name(), ".held-") || strings.HasPrefix(d.Name(), ".headers-") ||
		strings.HasPrefix(d.Name(), ".index-")
}

func describe(path string, d fs.DirEntry) (string, error) {
	info, err := d.Info()
	if err != nil {
		return "", err
	}
	mode := fmt.Sprintf("%v %v", d.Type(), info.Mode().Perm())
	switch {
	case d.IsDir():
		return mode, nil
	case d.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return "-> " + target, err
	case !d.Type().IsRegular():
		return mode, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text, err := content(d.Name(), data)
	if err != nil {
		text = err.Error()
	}
	return mode + " " + text, nil
}

// content is what counts of a file.
func content(name string, data []byte) (string, error) {
	switch {
	case strings.HasSuffix(name, ".xz"):
		r, err := xz.NewReader(bytes.NewReader(data))
		if err != nil {
			return "", err
		}
		data, err = io.ReadAll(r)
		return sum(data), err
	case name == "make.log":
		return fmt.Sprintf("%q", compiled(data)), nil
	case strings.HasPrefix(name, "modules.") && strings.HasSuffix(name, ".bin"):
		return "an index", nil // its text form is compared
	case strings.HasPrefix(name, "modules."):
		return fmt.Sprintf("%q", sorted(data)), nil
	case strings.HasSuffix(name, ".tar.gz"):
		return "an archive", nil // its members are listed by themselves
	case name == "hooks":
		return fmt.Sprintf("%q", data), nil
	}
	return sum(data), nil
}

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data))[:16] }

// compiled are the lines of a build log in which Kbuild says what it made, in
// the order of neither job; what stands around them has another form in every
// version of DKMS.
func compiled(log []byte) []string {
	return slices.DeleteFunc(sorted(log), func(line string) bool {
		return !strings.HasPrefix(line, "  CC ") && !strings.HasPrefix(line, "  LD ")
	})
}

// sorted are the lines of an index, whose order is that of the directories.
func sorted(data []byte) []string {
	lines := strings.Split(strings.Trim(string(data), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

// unpack adds the members of the archive at path, without its root directory.
func (s snapshot) unpack(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		member := filepath.Clean(h.Name)
		if info := fs.FileInfoToDirEntry(h.FileInfo()); member == "." || ours(info) {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		text, err := content(filepath.Base(member), data)
		if err != nil {
			return err
		}
		s[name+"!"+member] = fmt.Sprintf("%c %o %s %s", h.Typeflag, h.Mode&0o7777, h.Linkname, text)
	}
}
