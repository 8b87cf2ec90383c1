package report

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dkms/pkg/exit"
)

func TestLines(t *testing.T) {
	hinted := exit.Errorf(exit.NoHeaders, "no headers").WithHint("install x\nor y")
	tests := []struct {
		name  string
		event Event
		want  string
	}{
		{"progress", Event{Kind: Progress, Text: "building foo"}, "dkms: building foo\n"},
		{"done", Event{Kind: Done, Text: "installed foo"}, "dkms: installed foo\n"},
		{"warning", Event{Kind: Warning, Text: "careful"}, "dkms: warning: careful\n"},
		{"failure", Event{Kind: Failure, Text: "make failed"}, "dkms: make failed\n"},
		{"every line of it", Event{Kind: Warning, Text: "one\n  two\n"}, "dkms: warning: one\ndkms: warning:   two\n"},
		{"hint", Event{Kind: Failure, Text: "no headers", Err: hinted}, "dkms: no headers\ndkms: hint: install x\ndkms: hint: or y\n"},
		{"what a terminal would obey", Event{Kind: Warning, Text: "a\x1b[2J\tb\r\a"}, "dkms: warning: a[2J\tb\n"},
		{"hint of a wrapped error", Event{Kind: Warning, Text: "w", Err: fmt.Errorf("foo: %w", hinted)}, "dkms: warning: w\ndkms: hint: install x\ndkms: hint: or y\n"},
		{"error without a hint", Event{Kind: Failure, Text: "x", Err: errors.New("x")}, "dkms: x\n"},
		{"it took a while", Event{Kind: Done, Text: "built", Elapsed: 1260 * time.Millisecond}, "dkms: built (1.3 s)\n"},
		{"it took a while to fail", Event{Kind: Failure, Text: "failed\n  why", Elapsed: time.Second}, "dkms: failed (1.0 s)\ndkms:   why\n"},
		{"it took no time", Event{Kind: Done, Text: "built", Elapsed: 99 * time.Millisecond}, "dkms: built\n"},
		{"detail", Event{Kind: Detail, Text: "more"}, ""},
		{"percent signs", Event{Kind: Progress, Text: "100%d"}, "dkms: 100%d\n"},
	}
	for _, test := range tests {
		var b bytes.Buffer
		(&Lines{W: &b}).Event(test.event)
		if b.String() != test.want {
			t.Errorf("%s: wrote %q; want %q", test.name, b.String(), test.want)
		}
	}
}

// Quiet keeps what must be known; verbose adds details; quiet wins.
func TestLinesKinds(t *testing.T) {
	tests := []struct {
		quiet, verbose bool
		want           string
	}{
		{false, false, "progress done warning failure"},
		{true, false, "warning failure"},
		{false, true, "detail progress done warning failure"},
		{true, true, "warning failure"},
	}
	for _, test := range tests {
		var b bytes.Buffer
		l := &Lines{W: &b, Quiet: test.quiet, Verbose: test.verbose, Prefix: "p"}
		for kind, text := range []string{"detail", "progress", "done", "warning", "failure"} {
			l.Event(Event{Kind: Kind(kind), Text: text})
		}
		got := strings.NewReplacer("p: warning: ", "", "p: ", "").Replace(b.String())
		if got = strings.Join(strings.Fields(got), " "); got != test.want {
			t.Errorf("quiet %v, verbose %v: %s; want %s", test.quiet, test.verbose, got, test.want)
		}
	}
}

// What keeps several modules from being built is said once, where nothing else
// was said in between.
func TestLinesRepeated(t *testing.T) {
	var b bytes.Buffer
	l := &Lines{W: &b}
	for _, e := range []Event{
		{Kind: Failure, Module: "a/1", Text: "no headers"}, {Kind: Failure, Module: "b/1", Text: "no headers"}, {Kind: Detail, Text: "hidden"},
		{Kind: Failure, Module: "c/1", Text: "no headers"}, {Kind: Progress, Text: "again"}, {Kind: Progress, Text: "again"}, {Kind: Failure, Text: "no headers"},
	} {
		l.Event(e)
	}
	if got, want := b.String(), "dkms: no headers\ndkms: again\ndkms: again\ndkms: no headers\n"; got != want {
		t.Errorf("wrote %q; want %q", got, want)
	}
}

// writes counts how often it is written to.
type writes int

func (w *writes) Write(p []byte) (int, error) {
	*w++
	return len(p), nil
}

// An event is written at once, so that the lines of two processes do not mix.
func TestLinesWriteOnce(t *testing.T) {
	var w writes
	(&Lines{W: &w}).Event(Event{Kind: Failure, Text: "a\nb\nc", Err: exit.Errorf(exit.Usage, "x").WithHint("h")})
	if w != 1 {
		t.Errorf("an event was written in %d pieces", w)
	}
}

func TestReporter(t *testing.T) {
	var out, err, second bytes.Buffer
	r := New(&out, &Lines{W: &err}, &Lines{W: &second, Verbose: true, Prefix: "two"})
	r.Result("foo/1.0: added")
	r.Detailf("%s", "d")
	r.Progressf("p %d", 1)
	r.Warnf("w %q", "x")
	r.Error(exit.Errorf(exit.Usage, "e").WithHint("h"))
	if got := out.String(); got != "foo/1.0: added\n" {
		t.Errorf("standard output is %q; want results only", got)
	}
	if got, want := err.String(), "dkms: p 1\ndkms: warning: w \"x\"\ndkms: e\ndkms: hint: h\n"; got != want {
		t.Errorf("standard error is %q; want %q", got, want)
	}
	if got, want := second.String(), "two: d\ntwo: p 1\ntwo: warning: w \"x\"\ntwo: e\ntwo: hint: h\n"; got != want {
		t.Errorf("the second sink has %q; want %q", got, want)
	}
}

func TestReporterIsSafe(t *testing.T) {
	var b bytes.Buffer
	r := New(&b, &Lines{W: &b})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				r.Result("result")
				r.Progressf("event")
			}
		})
	}
	wg.Wait()
	if got := strings.Count(b.String(), "result\n") + strings.Count(b.String(), "dkms: event\n"); got != 800 || strings.Count(b.String(), "\n") != 800 {
		t.Errorf("%d whole lines of 800", got)
	}
}

// Standard error is the journal's only if its device and inode are the ones
// that JOURNAL_STREAM names.
func TestUnderJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	for _, stream := range []string{
		"", ":", "x", "1:2:3", fmt.Sprint(sys.Dev), fmt.Sprintf("%d:%d", sys.Dev, sys.Ino+1), fmt.Sprintf("%d:%d", sys.Dev+1, sys.Ino),
		fmt.Sprintf("%d:%d ", sys.Dev, sys.Ino),
	} {
		if UnderJournal(map[string]string{"JOURNAL_STREAM": stream}, f) {
			t.Errorf("UnderJournal(%q) = true", stream)
		}
	}
	right := map[string]string{"JOURNAL_STREAM": fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)}
	if !UnderJournal(right, f) {
		t.Error("UnderJournal of the right stream = false")
	}
	if UnderJournal(right, nil) || UnderJournal(nil, f) {
		t.Error("UnderJournal without a file, or without the variable")
	}
}

// What the journal does not take is written, and nothing that it takes.
func TestJournalOtherwise(t *testing.T) {
	var b strings.Builder
	j := &Journal{Otherwise: Lines{W: &b}}
	j.Event(Event{Kind: Detail, Text: "a detail"})
	j.Event(Event{Kind: Warning, Text: "a test of dkms, nothing else"})
	want := "dkms: warning: a test of dkms, nothing else\n"
	if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
		want = ""
	}
	if b.String() != want {
		t.Errorf("Otherwise has %q; want %q", b.String(), want)
	}
}

// dkms-journal(7) has every field, and the number by which entries are found.
func TestJournalPage(t *testing.T) {
	page, err := os.ReadFile("../../dist/man/dkms-journal.7")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^\.It Va (.*)$`).FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, strings.Split(m[1], " , ")...)
	}
	fields := fieldsOf(Event{Module: "foo/1", Kernel: "6", Arch: "x", Step: "build", Err: exit.Errorf(1, "").WithHint("do")})
	want := append(slices.Collect(maps.Keys(fields)), "MESSAGE", "PRIORITY")
	slices.Sort(documented)
	slices.Sort(want)
	if !slices.Equal(documented, want) {
		t.Errorf("dkms-journal(7) has the fields %q; want %q", documented, want)
	}
	for _, id := range []string{messageID, failureID} {
		if n := strings.Count(string(page), id); n != 2 {
			t.Errorf("dkms-journal(7) has %s %d times; want 2", id, n)
		}
	}
	for kind, want := range map[Kind]string{Failure: failureID, Warning: messageID, Done: messageID} {
		if got := fieldsOf(Event{Kind: kind, Module: "foo/1"})["MESSAGE_ID"]; got != want {
			t.Errorf("MESSAGE_ID of kind %v = %s; want %s", kind, got, want)
		}
	}
	if id, ok := fieldsOf(Event{Kind: Failure, Text: "x"})["MESSAGE_ID"]; ok {
		t.Errorf("MESSAGE_ID of a message about no module = %s", id)
	}
	catalog, err := os.ReadFile("../../dist/systemd/dkms.catalog")
	if err != nil || !strings.Contains(string(catalog), "\n-- "+failureID+"\n") {
		t.Errorf("the catalog does not explain %s: %v", failureID, err)
	}
}

func TestNotify(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	for _, e := range []Event{
		{Kind: Detail, Text: "d"}, {Kind: Done, Text: "done"}, {Kind: Warning, Text: "w"}, {Kind: Progress, Text: "building\nREADY=1"}, {Kind: Failure, Text: "failed"},
	} {
		(&Notify{}).Event(e)
	}
	for _, status := range []string{"done", "w", "building READY=1", "failed"} {
		want := "STATUS=" + status + "\nEXTEND_TIMEOUT_USEC=2100000000"
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 1000)
		n, err := conn.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("the service manager got %q, %v; want %q", buf[:n], err, want)
		}
	}
}
