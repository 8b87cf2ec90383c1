package testscripts

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// dryRun is "dry CODE ARG...": dkms with --dry-run must end with that status
// and leave every file of the machine as it was, down to the times.
func dryRun(ts *testscript.TestScript, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: dry CODE ARG...")
	}
	before := snapshot(ts)
	wantExit(ts, append([]string{args[0], "dkms", "--dry-run"}, args[1:]...))
	after := snapshot(ts)
	for path, what := range after {
		if before[path] != what {
			ts.Fatalf("dkms %s --dry-run: %s is %s; was %q", strings.Join(args[1:], " "), path, what, before[path])
		}
	}
	for path := range before {
		if after[path] == "" {
			ts.Fatalf("dkms %s --dry-run: %s is gone", strings.Join(args[1:], " "), path)
		}
	}
}

// snapshot describes every file of the machine and of the script. Directories
// for temporary files may have had some.
func snapshot(ts *testscript.TestScript) map[string]string {
	files := map[string]string{}
	ts.Check(filepath.WalkDir(ts.Getenv("WORK"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode(), " ", info.Size(), " ", info.ModTime())
		switch {
		case d.Name() == "tmp" || d.Name() == ".tmp":
			text = info.Mode().String()
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			ts.Check(err)
			text += " -> " + to
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			ts.Check(err)
			text += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		files[path] = text
		return nil
	}))
	return files
}
