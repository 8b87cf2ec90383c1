package report

import (
	"bytes"
	"strings"
	"testing"

	"dkms/pkg/exit"
)

// hostile sets the title of a terminal, clears it, overwrites its line, and
// shows text backwards; 0x9b alone is an escape, too.
const hostile = "a\x1b]0;x\ab\x1b[2Jc\rd\u202ee\u009bf\x9bg\x00h\u2066i"

const cleaned = "a]0;xb[2Jcdef\uFFFDghi"

func TestClean(t *testing.T) {
	for step := 1; step <= len(hostile); step++ { // however it is cut
		var b bytes.Buffer
		w := Clean(&b)
		for rest := hostile + "é\n"; rest != ""; rest = rest[min(step, len(rest)):] {
			if n, err := w.Write([]byte(rest[:min(step, len(rest))])); err != nil || n != min(step, len(rest)) {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		if got := b.String(); got != cleaned+"é\n" {
			t.Errorf("in steps of %d: %q; want %q", step, got, cleaned)
		}
	}
}

// Nothing of what a reporter is told reaches a terminal as it is, whatever way
// it takes.
func TestReporterCleans(t *testing.T) {
	var out, err, live bytes.Buffer
	display, _, _ := liveClock(&live)
	r := New(&out, &Lines{W: &err}, display)
	r.Result(hostile)
	r.Warnf("%s", hostile)
	r.Emit(Event{Kind: Failure, Text: hostile, Err: exit.Errorf(exit.Usage, "x").WithHint("%s", hostile)})
	r.Emit(Event{Kind: Progress, Module: "foo/1.0", Step: "build", Text: hostile})
	r.Close()
	ours := strings.NewReplacer("\r"+clearLine, "", lineUp+clearLine, "", clearLine, "", lineUp, "")
	shown := bytes.NewBufferString(ours.Replace(live.String()))
	for name, b := range map[string]*bytes.Buffer{"results": &out, "messages": &err, "the live display": shown} {
		if strings.ContainsAny(b.String(), "\x1b\a\r\x00\u202e\u2066\u009b") || !strings.Contains(b.String(), cleaned) {
			t.Errorf("%s: %q; want %q in it and nothing else", name, b, cleaned)
		}
	}
}
