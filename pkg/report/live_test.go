package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkms/pkg/exit"
)

// screen is what a terminal of one row after the other shows of what is
// written to it: a carriage return begins the row again, EL clears its rest.
func screen(s string) []string {
	rows := []string{""}
	at := 0
	for s != "" {
		row := &rows[len(rows)-1]
		switch {
		case strings.HasPrefix(s, clearLine):
			*row = (*row)[:at]
			s = s[len(clearLine):]
			continue
		case strings.HasPrefix(s, lineUp):
			if rows[len(rows)-1] != "" || at > 0 {
				panic("up from a row that is not clear")
			}
			rows = rows[:len(rows)-1]
			s = s[len(lineUp):]
			continue
		case s[0] == '\r':
			at = 0
		case s[0] == '\n':
			rows, at = append(rows, ""), 0
		default:
			*row = (*row)[:at] + s[:1] + (*row)[min(at+1, len(*row)):]
			at++
		}
		s = s[1:]
	}
	return rows
}

// liveClock is a live display whose clock and ticks are the test's.
func liveClock(b *bytes.Buffer) (l *Live, now *time.Time, ticks chan time.Time) {
	start := time.Unix(1000, 0)
	ticks = make(chan time.Time)
	return &Live{Lines: Lines{W: b}, Now: func() time.Time { return start }, Ticks: ticks, Size: func() (int, int) { return 60, 5 }}, &start, ticks
}

func begin(module string) Event {
	return Event{Kind: Progress, Module: module, Kernel: "6.1", Arch: "x86_64", Step: "build", Text: module + ": building for 6.1 (x86_64)"}
}

func TestLive(t *testing.T) {
	var b bytes.Buffer
	l, now, ticks := liveClock(&b)
	r := New(&b, l)
	want := func(what string, rows ...string) {
		t.Helper()
		l.mu.Lock() // the line may be drawn by a tick
		defer l.mu.Unlock()
		if got := screen(b.String()); !slices.Equal(got, rows) {
			t.Errorf("%s: the screen is %q; want %q", what, got, rows)
		}
	}
	r.Progressf("hello")
	want("a line about the run", "dkms: hello", "")
	r.Emit(begin("a/1"))
	want("a step begins", "dkms: hello", "dkms: a/1: building for 6.1 (x86_64) ...")
	*now = now.Add(12 * time.Second)
	ticks <- *now
	ticks <- *now // taken when the first is done with
	want("12 seconds later", "dkms: hello", "dkms: a/1: building for 6.1 (x86_64) ... 12 s")
	r.Warnf("careful")
	want("a warning", "dkms: hello", "dkms: warning: careful", "dkms: a/1: building for 6.1 (x86_64) ... 12 s")
	r.Emit(begin("b/1"))
	want("another step", "dkms: hello", "dkms: warning: careful", "dkms: a/1: building for 6.1 (x86_64) ... 12 s", "dkms: b/1: building for 6.1 (x86_64) ...")
	r.Emit(Event{Kind: Done, Module: "a/1", Kernel: "6.1", Arch: "x86_64", Step: "build", Text: "a/1: built"})
	want("the first is done", "dkms: hello", "dkms: warning: careful", "dkms: a/1: built", "dkms: b/1: building for 6.1 (x86_64) ...")
	r.Result("result")
	want("a result", "dkms: hello", "dkms: warning: careful", "dkms: a/1: built", "result", "dkms: b/1: building for 6.1 (x86_64) ...")
	r.Emit(Event{Kind: Failure, Module: "b/1", Kernel: "6.1", Arch: "x86_64", Step: "build", Text: "b/1: failed", Err: exit.Errorf(exit.MakeFailed, "x").WithHint("look")})
	want("the second fails", "dkms: hello", "dkms: warning: careful", "dkms: a/1: built", "result", "dkms: b/1: failed", "dkms: hint: look", "")
	r.Emit(begin("c/1"))
	r.Close()
	want("interrupted", "dkms: hello", "dkms: warning: careful", "dkms: a/1: built", "result", "dkms: b/1: failed", "dkms: hint: look", "")
	r.Close()
}

// Several builds have a line each, in the order in which they began, the same
// module for several kernels too; what does not fit on the screen is counted.
func TestLiveSeveral(t *testing.T) {
	var b bytes.Buffer
	l, now, _ := liveClock(&b)
	for _, kernel := range []string{"6.1", "6.2", "6.3"} {
		e := begin("a/1")
		e.Kernel = kernel
		e.Text = "a/1: building for " + kernel
		l.Event(e)
		*now = now.Add(time.Second)
	}
	want := func(what string, rows ...string) {
		t.Helper()
		if got := screen(b.String()); !slices.Equal(got, rows) {
			t.Errorf("%s: the screen is %q; want %q", what, got, rows)
		}
	}
	l.show()
	want("three", "dkms: a/1: building for 6.1 ... 3 s", "dkms: a/1: building for 6.2 ... 2 s", "dkms: a/1: building for 6.3 ... 1 s")
	again := begin("a/1")
	again.Text = "a/1: patching"
	l.Event(again)
	want("the first goes on", "dkms: a/1: patching ... 3 s", "dkms: a/1: building for 6.2 ... 2 s", "dkms: a/1: building for 6.3 ... 1 s")
	l.Event(begin("b/1"))
	l.Event(begin("c/1"))
	want("five in four rows", "dkms: a/1: patching ... 3 s", "dkms: a/1: building for 6.2 ... 2 s", "dkms: a/1: building for 6.3 ... 1 s", "dkms: 2 more ...")
	l.Event(Event{Kind: Done, Module: "a/1", Kernel: "6.2", Arch: "x86_64", Step: "build", Text: "a/1: built"})
	want("one is done", "dkms: a/1: built", "dkms: a/1: patching ... 3 s", "dkms: a/1: building for 6.3 ... 1 s", "dkms: b/1: building for 6.1 (x86_64) ...", "dkms: c/1: building for 6.1 (x86_64) ...")
	l.Size = func() (int, int) { return 60, 1 }
	l.show()
	want("hardly any room", "dkms: a/1: built", "dkms: 4 more ... 3 s")
	l.Close()
	want("closed", "dkms: a/1: built", "")
}

// A build that is done before its turn says that it waits.
func TestLiveAhead(t *testing.T) {
	var b bytes.Buffer
	l, now, _ := liveClock(&b)
	r := New(&b, l)
	want := func(what string, rows ...string) {
		t.Helper()
		if got := screen(b.String()); !slices.Equal(got, rows) {
			t.Errorf("%s: the screen is %q; want %q", what, got, rows)
		}
	}
	first, turnOfFirst := r.Ahead()
	second, turnOfSecond := r.Ahead()
	turnOfFirst(nil)
	first.Emit(begin("a/1"))
	second.Emit(begin("b/1"))
	*now = now.Add(2 * time.Second)
	second.Warnf("careful")
	rest := begin("b/1")
	rest.Text = "b/1: waits"
	second.Rest(rest)
	*now = now.Add(3 * time.Second)
	l.show()
	want("the second is over", "dkms: a/1: building for 6.1 (x86_64) ... 5 s", "dkms: b/1: waits")
	rest.Module = "a/1"
	first.Rest(rest)
	l.show()
	want("in its turn it does not wait", "dkms: a/1: building for 6.1 (x86_64) ... 5 s", "dkms: b/1: waits")
	r.Emit(Event{Kind: Done, Module: "a/1", Kernel: "6.1", Arch: "x86_64", Step: "build", Text: "a/1: built"})
	turnOfSecond(nil)
	r.Emit(Event{Kind: Done, Module: "b/1", Kernel: "6.1", Arch: "x86_64", Step: "build", Text: "b/1: built"})
	want("both are done", "dkms: a/1: built", "dkms: warning: careful", "dkms: b/1: built", "")
	l.Close()
}

// With --verbose the last line of make is below its step, while there is room.
func TestLiveLog(t *testing.T) {
	var b bytes.Buffer
	l, _, _ := liveClock(&b)
	log := filepath.Join(t.TempDir(), "make.log")
	e := begin("a/1")
	e.Log = log
	tests := []struct {
		name, log, want string
		verbose         bool
	}{
		{"no log yet", "", "", true},
		{"a line", "CC foo.o\n", "  CC foo.o", true},
		{"half a line", "CC foo.o\nLD [M]  b", "  LD [M]  b", true},
		{"blank lines", "CC foo.o\n\n \n", "  CC foo.o", true},
		{"carriage returns", "10%\r20%\r", "  20%", true},
		{"what would harm the terminal", "\tCC \x1b[2Jfoo\x07.o\x9b \u202e\n", "  CC [2Jfoo.o", true},
		{"a long line", strings.Repeat("x", 9999) + "\n", "  " + strings.Repeat("x", 57), true},
		{"wide letters", strings.Repeat("字", 99) + "\n", "  " + strings.Repeat("字", 28), true},
		{"not asked for", "CC foo.o\n", "", false},
	}
	for _, test := range tests {
		b.Reset()
		if test.log != "" {
			if err := os.WriteFile(log, []byte(test.log), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		l.steps, l.shown, l.Verbose = nil, 0, test.verbose
		l.Event(e)
		want := "dkms: a/1: building for 6.1 (x86_64) ..."
		if test.want != "" {
			want += "\n" + test.want
		}
		if got := b.String(); got != want {
			t.Errorf("%s: %q; want %q", test.name, got, want)
		}
	}
	if err := os.Chtimes(log, time.Unix(10, 0), time.Unix(10, 0)); err != nil {
		t.Fatal(err)
	}
	if got := lastLine(log, l.Now()); got != "" {
		t.Errorf("of an older log %q is shown", got)
	}
	l.Close()
}

// A line that is wider than the terminal could not be written over.
func TestLiveIsNarrow(t *testing.T) {
	var b bytes.Buffer
	l, _, _ := liveClock(&b)
	for columns, want := range map[int]string{60: "dkms: a/1: building for 6.1 (x86_64) ...", 20: "dkms: a/1: buil ...", 5: " ...", 0: " ..."} {
		b.Reset()
		l.Size = func() (int, int) { return columns, 24 }
		l.steps = nil
		l.Event(begin("a/1"))
		if got := screen(b.String())[0]; got != want {
			t.Errorf("in %d columns: %q; want %q", columns, got, want)
		}
	}
	l.Close()
}

// Without a step there is nothing to draw, and quiet is quiet.
func TestLiveQuiet(t *testing.T) {
	var b bytes.Buffer
	l, _, _ := liveClock(&b)
	l.Quiet = true
	l.Event(begin("a/1"))
	l.Event(Event{Kind: Detail, Text: "d"})
	if b.Len() > 0 || l.stop != nil {
		t.Errorf("quiet shows %q", b.String())
	}
	l.Event(Event{Kind: Failure, Text: "f"})
	if got := b.String(); got != "dkms: f\n" {
		t.Errorf("a failure is %q", got)
	}
	l.Close()
}

func TestTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if Terminal(map[string]string{"TERM": "xterm"}, f) || Terminal(map[string]string{"TERM": "xterm"}, nil) {
		t.Error("a file is a terminal")
	}
	if columns, rows := Size(f); columns != defaultColumns || rows != defaultRows {
		t.Errorf("a file has %d columns and %d rows; want %d and %d", columns, rows, defaultColumns, defaultRows)
	}
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal("no pseudo-terminals: ", err)
	default:
		t.Skip("no pseudo-terminals: ", err)
	}
	defer pty.Close()
	for _, caller := range []string{"DPKG_MAINTSCRIPT_PACKAGE", "EBUILD_PHASE"} {
		if Terminal(map[string]string{"TERM": "xterm", caller: "x"}, pty) {
			t.Errorf("Terminal = true with %s; want false", caller)
		}
	}
	for term, want := range map[string]bool{"xterm": true, "dumb": false, "": false} {
		if got := Terminal(map[string]string{"TERM": term}, pty); got != want {
			t.Errorf("Terminal(TERM=%s) = %v; want %v", term, got, want)
		}
	}
}

func TestJSONLines(t *testing.T) {
	var b bytes.Buffer
	j := &JSONLines{W: &b, Now: func() time.Time { return time.Unix(0, 0) }}
	r := New(j, j)
	r.Detailf("not shown")
	r.Emit(begin("a/1"))
	r.Emit(Event{Kind: Failure, Module: "a/1", Step: "build", Text: "a \"b\"\nc", Err: exit.Errorf(exit.MakeFailed, "x").WithHint("h"), Elapsed: 1500 * time.Millisecond})
	r.Result("would build")
	r.Verbose()
	r.Detailf("shown")
	want := []string{
		`{"schema":1,"time":"1970-01-01T00:00:00Z","event":"progress","module":"a","version":"1","kernel":"6.1","arch":"x86_64","step":"build","text":"a/1: building for 6.1 (x86_64)"}`,
		`{"schema":1,"time":"1970-01-01T00:00:00Z","event":"failure","module":"a","version":"1","step":"build","text":"a \"b\"\nc","hint":"h","status":10,"seconds":1.5}`,
		`{"schema":1,"time":"1970-01-01T00:00:00Z","event":"result","text":"would build"}`,
		`{"schema":1,"time":"1970-01-01T00:00:00Z","event":"detail","text":"shown"}`,
	}
	got := strings.Split(strings.TrimSpace(b.String()), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, line := range got {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s is not JSON", line)
		}
	}
}

// TestTally: somebody who watches a long run is told how far it is.
func TestTally(t *testing.T) {
	for _, test := range []struct {
		over, of int
		taken    time.Duration
		want     string
	}{
		{0, 28, time.Minute, "0 of 28"},
		{12, 28, 90 * time.Second, "12 of 28, about 2 min"},
		{27, 28, 27 * time.Second, "27 of 28, about 1 s"},
		{28, 28, time.Hour, "28 of 28"},
		{1, 100, 10 * time.Minute, "1 of 100, about 17 h"},
		{1, 2, time.Minute, ""},
	} {
		if got := (tally{test.over, test.of}).text(test.taken); got != test.want {
			t.Errorf("%d of %d after %s: %q; want %q", test.over, test.of, test.taken, got, test.want)
		}
	}
	var b bytes.Buffer
	l, now, ticks := liveClock(&b)
	r := New(&b, l)
	r.Emit(begin("a/1"))
	*now = now.Add(90 * time.Second)
	r.Tally(12, 28)
	ticks <- *now
	ticks <- *now // taken when the first is done with
	l.mu.Lock()
	defer l.mu.Unlock()
	want := []string{"dkms: a/1: building for 6.1 (x86_64) ... 90 s", "dkms: 12 of 28, about 2 min"}
	if got := screen(b.String()); !slices.Equal(got, want) {
		t.Errorf("the screen is %q; want %q", got, want)
	}
}
