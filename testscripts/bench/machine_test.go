//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkms/testscripts/chroot"
)

// machine is one of the two systems, with an agent in it and everything that
// commands may change in memory.
type machine struct {
	name string
	pid  int
	root string // the machine's root directory, as seen from here
	in   *json.Encoder
	out  *json.Decoder
}

// boot starts a machine with the headers of this one. It ends with the test.
func boot(t testing.TB, name, root string) *machine {
	t.Helper()
	m := start(t, name, agentRoot+"="+root)
	m.put(t, "../fakekernel", "tmp/fakekernel")
	m.put(t, buildBare(t), "tmp/bare")
	m.sh(t, `printf 'try_sign_modules="false"\nsign_file="/nonexistent"\n' >/etc/dkms/framework.conf`)
	return m
}

// bootWhole starts a machine that has its own kernels. It ends with the test.
func bootWhole(t testing.TB, name, root string) *machine {
	t.Helper()
	return start(t, name, agentRoot+"="+root, agentWhole+"=yes")
}

func start(t testing.TB, name string, env ...string) *machine {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	chroot.Check(t, err)
	stdout, err := cmd.StdoutPipe()
	chroot.Check(t, err)
	chroot.Check(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	m := &machine{
		name: name, pid: cmd.Process.Pid, root: fmt.Sprintf("/proc/%d/root", cmd.Process.Pid),
		in: json.NewEncoder(stdin), out: json.NewDecoder(stdout),
	}
	m.must(t, "true") // it has moved in
	return m
}

// pair are the two machines, freshly booted.
type pair struct{ ours, theirs *machine }

func bootPair(t testing.TB, c chroot.Pair) pair {
	return pair{boot(t, "ours", c.Ours), boot(t, "theirs", c.Theirs)}
}

// both runs a line of shell in the two machines.
func (p pair) both(t testing.TB, line string, args ...string) {
	t.Helper()
	p.ours.sh(t, line, args...)
	p.theirs.sh(t, line, args...)
}

func (m *machine) do(t testing.TB, r request) reply {
	t.Helper()
	var a reply
	chroot.Check(t, m.in.Encode(r))
	if err := m.out.Decode(&a); err != nil {
		t.Fatalf("%s: %v: %v", m.name, r.Argv, err)
	}
	return a
}

// must runs a program that has to succeed and returns what it writes to
// standard output.
func (m *machine) must(t testing.TB, argv ...string) string {
	t.Helper()
	a := m.do(t, request{Argv: argv, Keep: true})
	if a.Exit != 0 {
		t.Fatalf("%s: %v: exit status %d\n%s%s", m.name, argv, a.Exit, a.Stdout, a.Stderr)
	}
	return a.Stdout
}

// sh runs lines of shell that have to succeed.
func (m *machine) sh(t testing.TB, lines string, args ...string) string {
	t.Helper()
	return m.must(t, append([]string{"sh", "-ec", lines, "sh"}, args...)...)
}

// put copies a file or directory of this side into the machine.
func (m *machine) put(t testing.TB, from, to string) {
	t.Helper()
	chroot.Check(t, chroot.Run("cp", "-a", from, filepath.Join(m.root, to)))
}

// programs is how many programs a command starts beside itself.
func (m *machine) programs(t testing.TB, argv ...string) int {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	enter := []string{"strace", "-f", "-e", "trace=execve", "-o", trace, "nsenter", "-t", fmt.Sprint(m.pid), "-m"}
	chroot.Check(t, chroot.Run(enter[0], append(enter[1:], argv...)...))
	data, err := os.ReadFile(trace)
	chroot.Check(t, err)
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, "execve") && strings.HasSuffix(line, " = 0\n") {
			n++
		}
	}
	return n - 2 // nsenter and the command
}

// side is what one column of a row runs.
type side struct {
	m    *machine
	argv []string
	// before is shell that makes everything as it was.
	before string
	// exit is the status that is right.
	exit      int
	took, cpu []time.Duration
}

func (s *side) median() figure { return seconds(median(s.took)) }

func (s *side) once(t testing.TB) {
	t.Helper()
	if s.before != "" {
		s.m.sh(t, s.before)
	}
	a := s.m.do(t, request{Argv: s.argv})
	if a.Exit != s.exit {
		a = s.m.do(t, request{Argv: s.argv, Keep: true})
		t.Fatalf("%s: %v: exit status %d; want %d\n%s%s", s.m.name, s.argv, a.Exit, s.exit, a.Stdout, a.Stderr)
	}
	s.took, s.cpu = append(s.took, a.Took), append(s.cpu, a.CPU)
}
