package fault

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkms/pkg/system"
)

// hanging is a script that says that it has begun, and does not end while the
// sources hold the file "hang". No signal that it can refuse ends it.
const hanging = `#!/bin/bash
[ -e hang ] || { echo done >>did-%[1]s; exit 0; }
trap '' TERM INT HUP
setsid sleep %[2]s &
echo >begun
sleep %[2]s
sleep %[2]s
`

// hangs makes a package hang at one of its scripts; its processes are known by
// the word.
func (m *machine) hangs(name, hook, word string) {
	m.Helper()
	dir := "usr/src/" + name + "-1.0/"
	m.sources(name, "1.0", []string{name}, hook+"=hang.sh")
	if hook == "MAKE" {
		m.sources(name, "1.0", []string{name}, `MAKE="./hang.sh; make -C $kernel_source_dir M=$dkms_tree/$module/$module_version/build"`)
	}
	m.write(dir+"hang.sh", fmt.Sprintf(hanging, hook, word))
	m.must(os.Chmod(m.path(dir+"hang.sh"), 0o755))
	m.write(dir+"hang", "")
}

// letGo lets packages that hang come to their end the next time.
func (m *machine) letGo() {
	m.Helper()
	m.sh("rm -f usr/src/*/hang")
}

// begin starts dkms and returns when packages have begun to hang.
func (m *machine) begin(names []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	m.Helper()
	self, err := os.Executable()
	m.must(err)
	cmd, said := exec.Command(self, args...), &bytes.Buffer{}
	cmd.Env = append(slices.Clone(m.env), "FAULT_PROGRAM=dkms")
	cmd.Stderr = said
	m.must(cmd.Start())
	m.Cleanup(func() { cmd.Process.Kill() })
	m.until("the builds have begun", func() bool {
		for _, name := range names {
			if found, _ := filepath.Glob(m.tree(name + "/1.0/.tmp_build_*/src/begun")); len(found) == 0 {
				return false
			}
		}
		return true
	})
	return cmd, said
}

// until waits for something to be so.
func (m *machine) until(what string, so func() bool) {
	m.Helper()
	end := time.After(deadline)
	for tick := time.Tick(10 * time.Millisecond); !so(); {
		select {
		case <-tick:
		case <-end:
			m.Fatalf("it never happens that %s", what)
		}
	}
}

// strangers lists what is not root's.
func (m *machine) strangers() (list []string) {
	m.Helper()
	m.walk(".", func(rel string, d fs.DirEntry) {
		info, err := d.Info()
		m.must(err)
		if info.Sys().(*syscall.Stat_t).Uid != 0 {
			list = append(list, rel)
		}
	})
	return list
}

// jailing skips tests where builds cannot be isolated, which nothing that can be
// installed changes.
func jailing(t *testing.T) {
	t.Helper()
	err := system.NewRunner(system.ThisHost(os.Environ())).Run(t.Context(), system.Cmd{Argv: []string{"true"}, Jail: &system.Jail{UID: system.BuildUser(0)}})
	if err != nil {
		t.Skip("builds cannot be isolated here: ", err)
	}
}

// A run that is killed while it builds ends what it has started, and the next
// one leaves nothing of it: a build whose POST_BUILD has not ended is none.
func TestKilledBuild(t *testing.T) {
	jailing(t)
	for i, hook := range []string{"PRE_BUILD", "MAKE", "POST_BUILD"} {
		for _, before := range []string{"add", "install"} {
			t.Run(hook+" after "+before, func(t *testing.T) {
				m := newMachine(t)
				word := fmt.Sprintf("%d.%d", 4400+i, os.Getpid())
				m.hangs("foo", hook, word)
				if before == "install" {
					m.letGo()
				}
				m.want(before, "foo/1.0")
				m.write("usr/src/foo-1.0/hang", "")
				installed := m.modules()
				cmd, _ := m.begin([]string{"foo"}, "build", "--force", "foo/1.0")
				m.until("something runs", func() bool { return len(processes(word)) > 0 })
				m.must(cmd.Process.Signal(syscall.SIGKILL))
				cmd.Wait()
				m.until("nothing is left running", func() bool { return len(processes(word)) == 0 })
				if got := m.modules(); got != installed {
					t.Errorf("the kernel has\n%s\nwant\n%s", got, installed)
				}
				m.letGo()
				m.want("install", "foo/1.0")
				m.want("autoinstall")
				if left := append(m.leftovers(), m.strangers()...); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				status := m.want("status").stdout
				if want := "foo/1.0, " + release + ", " + arch + ": installed\n"; !strings.HasPrefix(status, want[:len(want)-1]) {
					t.Errorf("status = %q; want %q", status, want)
				}
				if manifest, _ := os.ReadFile(m.tree("foo/1.0/" + release + "/" + arch + "/.manifest.json")); strings.Contains(string(manifest), "unfinished") {
					t.Errorf("the build is still unfinished: %s", manifest)
				}
			})
		}
	}
}

// A run that is asked to stop while it builds several modules, whose makes do
// not listen, stops all the same, and leaves nothing running and nothing half.
func TestStoppedBuilds(t *testing.T) {
	jailing(t)
	names := []string{"bar", "baz", "foo"}
	for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			word := fmt.Sprintf("%d.%d", 4500+i, os.Getpid())
			for _, name := range names {
				m.hangs(name, "MAKE", word)
				m.want("add", name+"/1.0")
			}
			cmd, said := m.begin(names, "-j", "3", "autoinstall")
			m.until("something runs", func() bool { return len(processes(word)) > 0 })
			m.must(cmd.Process.Signal(signal))
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 128+int(signal) || strings.Count(said.String(), "stopped while it was to build") != 1 {
				t.Errorf("dkms = %d\n%s", code, said)
			}
			if left := processes(word); len(left) > 0 {
				t.Errorf("left running: %q", left)
			}
			if left := append(m.leftovers(), m.strangers()...); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			m.letGo()
			m.want("-j", "3", "autoinstall")
			for _, name := range names {
				if status := m.want("status", name).stdout; !strings.HasSuffix(status, ": installed\n") {
					t.Errorf("status = %q; want it installed", status)
				}
			}
		})
	}
}

// processes lists the processes that sleep for a word.
func processes(word string) (list []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		data, _ := os.ReadFile(file) // it may have ended by now
		if words := strings.Split(string(data), "\x00"); len(words) > 1 && words[0] == "sleep" && words[1] == word {
			list = append(list, file)
		}
	}
	return list
}
