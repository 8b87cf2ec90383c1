package script

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/system"
)

func write(t testing.TB, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// tell is a script that says where it is and what it was given.
const tell = "#!/bin/sh\necho \"$0\"; pwd; for a; do echo \"arg $a\"; done\n"

func TestRun(t *testing.T) {
	tests := []struct {
		name, line, out        string // PKG and ADMIN are the directories
		shell, override, plain bool
	}{
		{name: "alone", line: "hook", out: "PKG/hook PKG"},
		{name: "with arguments", line: "  hook  a   b ", out: "PKG/hook PKG arg a arg b"},
		{name: "in a directory", line: "sub/hook x", out: "PKG/sub/hook PKG arg x"},
		{name: "without a shell nothing is special", line: "hook $HOME; * 'a b' >out", out: "PKG/hook PKG arg $HOME; arg * arg 'a arg b' arg >out"},
		{name: "the admin's", line: "hook a", override: true, out: "ADMIN/hook ADMIN arg a"},
		{name: "the admin's that cannot be executed", line: "hook", override: true, plain: true, out: "PKG/hook PKG"},
		{name: "a shell", line: "hook 'a b' $((1+1)); echo $NAME", shell: true, out: "PKG/hook PKG arg a b arg 2 value"},
		{name: "the admin's in a shell", line: "hook a", shell: true, override: true, out: "ADMIN/hook ADMIN arg a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			pkg, admin := filepath.Join(dir, "pkg"), filepath.Join(dir, "admin")
			write(t, filepath.Join(pkg, "hook"), tell, 0o755)
			write(t, filepath.Join(pkg, "sub/hook"), tell, 0o755)
			if test.override {
				mode := fs.FileMode(0o755)
				if test.plain {
					mode = 0o644
				}
				write(t, filepath.Join(admin, "hook"), tell, mode)
			}
			var out bytes.Buffer
			s := Script{Hook: "POST_ADD", Line: test.line, Dir: pkg, Override: admin, Out: &out, Shell: test.shell, Env: map[string]string{"NAME": "value"}}
			if err := s.Run(context.Background(), system.NewRunner(system.Host{})); err != nil {
				t.Fatal(err)
			}
			got := strings.NewReplacer(pkg, "PKG", admin, "ADMIN", "\n", " ").Replace(strings.TrimSpace(out.String()))
			if got != test.out {
				t.Errorf("it said %q; want %q", got, test.out)
			}
		})
	}
}

func TestRunNothing(t *testing.T) {
	for _, line := range []string{"", "  ", "\t\n"} {
		if err := (Script{Line: line, Dir: "/none"}).Run(context.Background(), nil); err != nil {
			t.Errorf("Run(%q) = %v; want nil", line, err)
		}
	}
}

func TestRunMissing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plain"), tell, 0o644)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []bool{false, true} {
		for _, line := range []string{"none", "plain a b", "sub", "none; touch made"} {
			err := (Script{Hook: "PRE_BUILD", Line: line, Dir: dir, Override: "/none", Shell: shell}).Run(context.Background(), system.NewRunner(system.Host{}))
			m, ok := errors.AsType[*Missing](err)
			file := strings.Trim(strings.Fields(line)[0], " ")
			if !ok || m.Hook != "PRE_BUILD" || m.File != filepath.Join(dir, file) {
				t.Errorf("Run(%q) = %v; want that %s is missing", line, err, file)
			}
		}
	}
	if got := fmt.Sprint(&Missing{"PRE_BUILD", "/x"}); got != "PRE_BUILD: /x is missing or not executable" {
		t.Errorf("Missing says %q", got)
	}
	if system.IsFile(filepath.Join(dir, "made")) {
		t.Error("a line whose script is missing was run")
	}
}

// Without a directory for overrides the working directory is not one.
func TestRunWithoutOverride(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "hook"), tell, 0o755)
	write(t, filepath.Join(elsewhere, "hook"), "#!/bin/sh\necho wrong\n", 0o755)
	t.Chdir(elsewhere)
	var out bytes.Buffer
	if err := (Script{Line: "hook", Dir: dir, Out: &out}).Run(context.Background(), system.NewRunner(system.Host{})); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), dir+"/hook\n"+dir+"\n"; got != want {
		t.Errorf("it said %q; want %q", got, want)
	}
}

// Scripts without a first line that names their interpreter work from bash,
// and so they do here.
func TestRunWithoutInterpreterLine(t *testing.T) {
	for _, shell := range []bool{false, true} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "hook"), "echo $# \"$1\"; x=(a b); exit ${#x[@]}\n", 0o755)
		var out bytes.Buffer
		err := (Script{Line: "hook one two", Dir: dir, Override: "/none", Out: &out, Shell: shell}).Run(context.Background(), system.NewRunner(system.Host{}))
		if e, ok := errors.AsType[*system.ExitError](err); !ok || e.Status != 2 || out.String() != "2 one\n" {
			t.Errorf("shell %v: Run = %v, output %q; want status 2 and 2 one", shell, err, out.String())
		}
	}
}

func TestRunStatus(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hook"), "#!/bin/sh\necho out; echo err >&2; exit $1\n", 0o755)
	write(t, filepath.Join(dir, "bad"), "#!/no/such/interpreter\n", 0o755)
	for _, shell := range []bool{false, true} {
		for _, status := range []int{1, 77, 255} {
			var out bytes.Buffer
			err := (Script{Line: fmt.Sprintf("hook %d", status), Dir: dir, Override: "/none", Out: &out, Shell: shell}).Run(context.Background(), system.NewRunner(system.Host{}))
			if e, ok := errors.AsType[*system.ExitError](err); !ok || e.Status != status || out.String() != "out\nerr\n" {
				t.Errorf("Run = %v with %q; want status %d, and both streams in order", err, out.String(), status)
			}
		}
		err := (Script{Line: "bad", Dir: dir, Override: "/none", Shell: shell}).Run(context.Background(), system.NewRunner(system.Host{}))
		if _, missing := errors.AsType[*Missing](err); err == nil || missing {
			t.Errorf("a script without its interpreter: %v; want an error", err)
		}
	}
}

// Names of modules and versions reach the shell as they are.
func TestRunQuoted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "1.0$(touch made)'`touch made`")
	write(t, filepath.Join(dir, "hook"), tell, 0o755)
	for _, shell := range []bool{false, true} {
		var out bytes.Buffer
		err := (Script{Hook: "PRE_BUILD", Line: "hook a", Dir: dir, Out: &out, Shell: shell}).Run(context.Background(), system.NewRunner(system.Host{}))
		if want := dir + "/hook\n" + dir + "\narg a\n"; err != nil || out.String() != want {
			t.Errorf("shell %v: %v, output %q; want %q", shell, err, out.String(), want)
		}
	}
	if system.IsFile(filepath.Join(dir, "made")) {
		t.Error("a command in the name of a directory was run")
	}
}

// Scripts outside of the sources are not the package's to run.
func TestRunOutside(t *testing.T) {
	top := t.TempDir()
	dir, admin := filepath.Join(top, "source"), filepath.Join(top, "etc")
	write(t, filepath.Join(top, "b.sh"), tell, 0o755)
	write(t, filepath.Join(dir, "sub/hook"), tell, 0o755)
	write(t, filepath.Join(admin, "hook"), tell, 0o755)
	for _, shell := range []bool{false, true} {
		for _, line := range []string{"../b.sh a", "sub/../../b.sh", "../etc/hook"} {
			var out bytes.Buffer
			err := (Script{Hook: "POST_INSTALL", Line: line, Dir: dir, Override: admin, Out: &out, Shell: shell}).Run(context.Background(), system.NewRunner(system.Host{}))
			if err == nil || !strings.Contains(err.Error(), "leads out of "+dir) || out.Len() > 0 {
				t.Errorf("shell %v: Run(%q) = %v, output %q; want it refused", shell, line, err, out.String())
			}
		}
		for _, line := range []string{"sub/../sub/hook", "/sub/hook", "../source/sub/hook"} {
			var out bytes.Buffer
			err := (Script{Hook: "POST_INSTALL", Line: line, Dir: dir, Out: &out, Shell: shell}).Run(context.Background(), system.NewRunner(system.Host{}))
			if want := dir + "/sub/hook\n" + dir + "\n"; err != nil || out.String() != want {
				t.Errorf("shell %v: Run(%q) = %v, output %q; want %q", shell, line, err, out.String(), want)
			}
		}
	}
}
