package fault

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// soakers is how many processes run at once.
const soakers = 20

// soakKernels are the kernels that they quarrel about.
var soakKernels = []string{release, "6.9.2-fake", "6.10.0-fake"}

// statusLine is what a line of status may look like.
var statusLine = regexp.MustCompile(`^[a-z]+/[0-9.]+(: added|, [0-9a-z.-]+, x86_64: (built|installed)( \(Original modules exist\))?( \((Differences between|Built modules are missing in)[a-z ]+\))?)$`)

// TestSoak runs many of the program at once, with mixed verbs. None may hang,
// crash or print nonsense, and in the end everything is whole. FAULT_SOAK sets
// for how long, such as 300s.
func TestSoak(t *testing.T) {
	length := soak
	if text := os.Getenv("FAULT_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t, soakKernels...)
	m.sources("foo", "1.0", pair)
	m.sources("foo", "2.0", []string{"left", "other"})
	m.sources("bar", "1.0", []string{"bar"}, `BUILD_DEPENDS="foo"`)
	m.sources("baz", "1.0", []string{"baz"})
	m.want("install", "foo/1.0")
	s := &soaking{machine: m, end: time.Now().Add(length), seed: uint64(time.Now().UnixNano())}
	t.Logf("seed %d", s.seed)
	var wg sync.WaitGroup
	for n := range soakers {
		wg.Go(func() { s.work(uint64(n)) })
	}
	wg.Wait()
	t.Logf("%d processes in %v, %d readers among them", s.ran.Load(), length, s.read.Load())
	s.settle()
}

type soaking struct {
	*machine
	end       time.Time
	seed      uint64
	ran, read atomic.Int64
}

// writers are the commands that change something; KERNEL is any of the kernels.
var writers = []string{
	"install foo/1.0 -k KERNEL", "install foo/2.0 -k KERNEL", "install --force foo/1.0 -k KERNEL", "install bar/1.0 -k KERNEL",
	"uninstall foo/1.0 -k KERNEL", "uninstall foo/2.0 -k KERNEL", "unbuild foo/1.0 -k KERNEL", "unbuild bar/1.0 -k KERNEL",
	"remove foo/1.0 --all", "remove foo/2.0 --all", "remove bar/1.0 -k KERNEL", "remove baz/1.0 --all",
	"add foo/1.0", "add foo/2.0", "add bar/1.0", "add baz/1.0", "build baz/1.0 -k KERNEL",
	"autoinstall -k KERNEL", "autoinstall -k KERNEL", "sign", "rehearse -k KERNEL", "HOOK KERNEL", "HOOK --hook=preinst KERNEL", "HOOK --hook=prerm KERNEL",
}

// readers are the commands that look.
var readers = []string{"status", "status", "status foo", "status -k KERNEL", "status --json", "check -k KERNEL"}

func (s *soaking) work(n uint64) {
	random := rand.New(rand.NewPCG(s.seed, n))
	list := writers
	if n%3 == 0 {
		list = readers
	}
	for time.Now().Before(s.end) {
		line := strings.ReplaceAll(list[random.IntN(len(list))], "KERNEL", soakKernels[random.IntN(len(soakKernels))])
		words := strings.Fields(line)
		program := "dkms"
		if words[0] == "HOOK" {
			program, words = "hook", words[1:]
		}
		s.judge(line, s.program(program, words...))
	}
}

// judge looks at how a process fared. Writers may be refused: another one was
// there before.
func (s *soaking) judge(line string, r ran) {
	s.ran.Add(1)
	for _, bad := range []string{"DATA RACE", "panic: ", "goroutine ", "fatal error: ", "could not be cleaned up", "did not come to its end", "interrupted"} {
		if strings.Contains(r.stderr, bad) {
			s.Errorf("dkms %s = %d\n%s", line, r.code, r.stderr)
			return
		}
	}
	if r.code < 0 || r.code > 21 && r.code != 77 {
		s.Errorf("dkms %s = %d\n%s", line, r.code, r.stderr)
	}
	if !strings.HasPrefix(line, "status") {
		return
	}
	s.read.Add(1)
	if r.code != 0 || r.stderr != "" {
		s.Errorf("dkms %s = %d\n%s", line, r.code, r.stderr)
	}
	if strings.Contains(line, "--json") {
		if !json.Valid([]byte(r.stdout)) {
			s.Errorf("dkms %s printed %s", line, r.stdout)
		}
		return
	}
	for text := range strings.Lines(r.stdout) {
		if !strings.HasSuffix(text, "\n") || !statusLine.MatchString(strings.TrimSuffix(text, "\n")) {
			s.Errorf("dkms %s printed %q", line, text)
		}
	}
}

// settle brings everything to rest and wants it whole.
func (s *soaking) settle() {
	for _, id := range []string{"foo/1.0", "foo/2.0", "bar/1.0", "baz/1.0"} {
		s.dkms("add", id)
	}
	want := ""
	for _, k := range soakKernels {
		if r := s.dkms("autoinstall", "-k", k); r.code != 0 {
			s.Errorf("autoinstall -k %s = %d\n%s", k, r.code, r.stderr)
		}
		for _, id := range []string{"bar/1.0", "baz/1.0", "foo/2.0"} {
			want += fmt.Sprintf("%s, %s, %s: installed\n", id, k, arch)
		}
	}
	status := s.want("status").stdout
	for line := range strings.Lines(want) {
		if !strings.Contains(status, line) {
			s.Errorf("status has no line %q:\n%s", line, status)
		}
	}
	if left := append(s.leftovers(), s.wrongIndex()...); len(left) > 0 {
		s.Errorf("left behind: %v", left)
	}
}
