package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkms/pkg/exit"
	"dkms/pkg/system"
	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var need, must = testkit.Need, testkit.Must

// output runs a judge that must agree to run.
func output(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, stderr.Bytes())
	}
	return string(out)
}

func runner() *system.Runner {
	return system.NewRunner(system.ThisHost(os.Environ()))
}

// put writes a file with its directories.
func put(t testing.TB, file, text string, mode fs.FileMode) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(text), 0o600))
	must(t, os.Chmod(file, mode))
	return file
}

// age sets the times of all files below dir to a day in the past, with a
// fraction of a second.
func age(t testing.TB, dir string) {
	t.Helper()
	when := time.Unix(1_600_000_000, 900_000_000)
	must(t, filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(file, when, when)
	}))
}

// sources makes a source tree with whatever is awkward in one.
func sources(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hello-1.0")
	put(t, filepath.Join(dir, "dkms.conf"), "PACKAGE_NAME=hello\nPACKAGE_VERSION=1.0\n", 0o644)
	put(t, filepath.Join(dir, "hello.c"), strings.Repeat("int x;\n", 30_000), 0o644)
	put(t, filepath.Join(dir, "configure"), "#!/bin/sh\n", 0o755)
	put(t, filepath.Join(dir, ".hidden"), "", 0o400)
	put(t, filepath.Join(dir, "caf\xe9"), "latin-1\n", 0o644)
	put(t, filepath.Join(dir, "caf\u00e9"), "utf-8\n", 0o644)
	put(t, filepath.Join(dir, strings.Repeat("long/", 40)+strings.Repeat("n", 120)), "deep\n", 0o644)
	must(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	must(t, os.Symlink("hello.c", filepath.Join(dir, "link.c")))
	must(t, os.Symlink("../hello.c", filepath.Join(dir, "long", "up.c")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	age(t, dir)
	return dir
}

// builds makes two builds as the dkms tree keeps them.
func builds(t testing.TB) []Build {
	t.Helper()
	var list []Build
	for _, kernel := range []string{"6.1.0-2-amd64", "6.1.0-1-amd64"} {
		dir := filepath.Join(t.TempDir(), kernel, "x86_64")
		put(t, filepath.Join(dir, "log", "make.log"), "built for "+kernel+"\n", 0o644)
		put(t, filepath.Join(dir, "module", "hello.ko"), "\x7fELF"+kernel, 0o644)
		put(t, filepath.Join(dir, ".dep_other"), "2.0\n", 0o644)
		put(t, filepath.Join(dir, ".manifest.json"), "{}\n", 0o644)
		age(t, dir)
		list = append(list, Build{Kernel: kernel, Arch: "x86_64", Dir: dir})
	}
	return list
}

// look describes everything below dir: kind, mode, time, size and content.
func look(t testing.TB, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	must(t, filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%v %d", st.Mode(), st.ModTime().Unix())
		switch {
		case st.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			text = "link to " + target
		case st.Mode().IsRegular():
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			text += " " + string(data)
		}
		seen[rel] = text
		return nil
	}))
	delete(seen, ".")
	return seen
}

// same compares what [look] saw.
func same(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[name]; !ok {
			t.Errorf("%s: %q is missing", what, name)
		} else if g != want[name] {
			t.Errorf("%s: %q = %.80q; want %.80q", what, name, g, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %q should not be there", what, name)
		}
	}
}

// below is the part of what [look] saw under a directory.
func below(seen map[string]string, dir string) map[string]string {
	part := map[string]string{}
	for name, text := range seen {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			part[rest] = text
		}
	}
	return part
}

// tarball makes an archive of headers; the data of regular files is their name
// unless the size is set.
func tarball(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		data := []byte(nil)
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			data = []byte(h.Name)
			h.Size = int64(len(data))
		}
		must(t, w.WriteHeader(&h))
		if data == nil && h.Typeflag == tar.TypeReg {
			data = make([]byte, h.Size)
		}
		_, err := w.Write(data)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func reg(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
func folder(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}
func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}
func kind(name string, c byte) tar.Header { return tar.Header{Typeflag: c, Name: name} }

// wantCode checks the exit status of an error.
func wantCode(t testing.TB, what string, err error, want exit.Code) {
	t.Helper()
	if got := exit.Status(err); got != want {
		t.Errorf("%s: exit.Status(%v) = %d; want %d", what, err, got, want)
	}
}

// gone checks that nothing has the name path.
func gone(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat(%s) = %v; want that there is nothing", path, err)
	}
}
