// Package testkit is what the tests of all rooms need: files to work on, and a
// way to end where something is missing.
//
// It guarantees that a test which lacks a program is skipped on a machine of
// a developer, with the reason, and fails in CI, which has to install it.
package testkit

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Need ends a test that lacks a program.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			Lack(t, p+" is not installed")
		}
	}
}

// Lack ends a test that lacks something.
func Lack(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Must ends a test if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Write writes a file with its directories.
func Write(t testing.TB, path, text string) string {
	t.Helper()
	return WriteMode(t, path, text, 0o644)
}

// WriteMode writes a file of that mode with its directories.
func WriteMode(t testing.TB, path, text string, mode fs.FileMode) string {
	t.Helper()
	Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	Must(t, os.WriteFile(path, []byte(text), 0o600))
	Must(t, os.Chmod(path, mode))
	return path
}
