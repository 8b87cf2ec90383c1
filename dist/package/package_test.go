// Package package_test has the recipes of the distributions' packages judged
// by the shells that read them. It guarantees that they parse, and that the
// maintainer scripts and hooks do what they say where nothing is installed.
package package_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkms/testscripts/testkit"
)

// What all rooms share, by the names that are short.
var need = testkit.Need

// recipes are the shell scripts with what reads them.
var recipes = map[string]string{
	"build.sh":                           "sh",
	"licenses.sh":                        "sh",
	"other.sh":                           "sh",
	"archive.sh":                         "sh",
	"deb/postinst":                       "sh",
	"deb/prerm":                          "sh",
	"deb/postrm":                         "sh",
	"../arch/PKGBUILD":                   "bash",
	"../alpine/APKBUILD":                 "sh",
	"../alpine/dkms.post-install":        "sh",
	"../alpine/dkms.kernel-hook":         "sh",
	"../../testscripts/packages.sh":      "sh",
	"../../testscripts/packages/*.sh":    "sh",
	"../gentoo/sys-kernel/dkms/*.ebuild": "bash",
}

// run runs a program with nothing of the caller's environment but its path.
func run(t *testing.T, env []string, argv ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// scripts are the files of the recipes, and those that the spec file has in it,
// with what reads them.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for pattern, shell := range recipes {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no such file", pattern)
		}
		for _, f := range files {
			found[f] = shell
		}
	}
	text, err := os.ReadFile("rpm/dkms.spec")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for section := range strings.SplitSeq(string(text), "\n%") {
		head, body, _ := strings.Cut(section, "\n")
		name, _, _ := strings.Cut(head, " ")
		if slices.Contains([]string{"post", "preun", "postun", "transfiletriggerin"}, name) {
			f := filepath.Join(dir, name)
			write(t, f, body)
			found[f] = "sh"
		}
	}
	return found
}

func TestSyntax(t *testing.T) {
	for f, shell := range scripts(t) {
		need(t, shell)
		if out, code := run(t, nil, shell, "-n", f); code != 0 || out != "" {
			t.Errorf("%s -n %s = %d, %q; want 0 and nothing", shell, f, code, out)
		}
	}
}

func TestShellcheck(t *testing.T) {
	need(t, "shellcheck")
	for f, shell := range scripts(t) {
		argv := []string{"shellcheck", "-x", "--source-path=../..", "-s", shell}
		if filepath.Ext(f) == ".ebuild" {
			argv = append(argv, "-e", "SC2034,SC2154,SC2086") // portage's variables
		}
		if out, code := run(t, nil, append(argv, f)...); code != 0 {
			t.Errorf("%s:\n%s", f, out)
		}
	}
}

// copyOf is a script with one path replaced by another.
func copyOf(t *testing.T, script, from, to string) string {
	t.Helper()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("%s has no %s", script, from)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(script))
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), from, to)), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestAlpineHook(t *testing.T) {
	program := filepath.Join(t.TempDir(), "dkms-hook")
	hook := copyOf(t, "../alpine/dkms.kernel-hook", "/usr/lib/dkms/dkms-hook", program)
	if out, code := run(t, nil, hook, "lts", "6.6.2-0", "6.6.1-0"); out != "" || code != 0 {
		t.Errorf("without dkms-hook = %q, %d; want nothing and 0", out, code)
	}
	write(t, program, "#!/bin/sh\necho \"$@\"\n[ \"$2\" != 6.6.0-0-lts ] || exit 11\n")
	for _, c := range []struct {
		new, old, want string
		code           int
	}{
		{"6.6.2-0", "6.6.1-0", "--hook=prerm 6.6.1-0-lts\n--hook=postinst 6.6.2-0-lts\n", 0},
		{"6.6.2-0", "", "--hook=postinst 6.6.2-0-lts\n", 0},
		{"", "6.6.1-0", "--hook=prerm 6.6.1-0-lts\n", 0},
		{"6.6.2-0", "6.6.0-0", "--hook=prerm 6.6.0-0-lts\n--hook=postinst 6.6.2-0-lts\n", 11},
	} {
		if out, code := run(t, nil, hook, "lts", c.new, c.old); out != c.want || code != c.code {
			t.Errorf("hook lts %q %q = %q, %d; want %q, %d", c.new, c.old, out, code, c.want, c.code)
		}
	}
}

// TestPurge runs Debian's postrm on trees in different states. It is kept from
// the services of this machine by an empty directory of programs for them.
func TestPurge(t *testing.T) {
	for _, c := range []struct {
		name, action string
		before, want []string
	}{
		{"empty", "purge", nil, nil},
		{"records", "purge", []string{".lock", "post_transaction.log", "acpi-call/.record"}, nil},
		{"key", "purge", []string{".lock", "mok.key", "mok.pub"}, []string{"mok.key", "mok.pub"}},
		{"registered", "purge", []string{".lock", "hello/1.0/source/dkms.conf"}, []string{".lock", "hello/1.0/source/dkms.conf"}},
		{"removed", "remove", []string{".lock"}, []string{".lock"}},
	} {
		tree := filepath.Join(t.TempDir(), "dkms")
		script := copyOf(t, "deb/postrm", "/var/lib/dkms", tree)
		script = copyOf(t, script, "/run/systemd/system", "/nonexistent")
		script = copyOf(t, script, "deb-systemd-helper", "no-such-program")
		kept := filepath.Join(t.TempDir(), "71dkms-boot-guard")
		script = copyOf(t, script, "/etc/apt/apt.conf.d/71dkms-boot-guard", kept)
		write(t, kept, "")
		if err := os.MkdirAll(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range c.before {
			write(t, filepath.Join(tree, f), "")
		}
		out, code := run(t, nil, "sh", script, c.action)
		got := files(tree)
		if code != 0 || !slices.Equal(got, c.want) || (c.action == "purge" && len(c.want) > 0) != strings.Contains(out, tree) {
			t.Errorf("%s: postrm %s = %d, %q and leaves %q; want 0 and %q", c.name, c.action, code, out, got, c.want)
		}
		if _, err := os.Stat(kept); (err == nil) != (c.action == "remove") {
			t.Errorf("%s: postrm %s: what the boot guard has told apt: %v", c.name, c.action, err)
		}
		if _, err := os.Stat(tree); (err == nil) != (len(c.want) > 0) {
			t.Errorf("%s: postrm %s: %s: %v; want it gone if it is empty", c.name, c.action, tree, err)
		}
	}
}

// files is every file below dir.
func files(dir string) (paths []string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, strings.TrimPrefix(path, dir+"/"))
		}
		return nil
	})
	return paths
}
