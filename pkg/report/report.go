// Package report is the only package that prints. Other packages emit events;
// sinks turn events into lines for people and records for programs.
//
// It guarantees the rules of the screen: results go to standard output;
// everything else goes to standard error as "dkms: ...", "dkms: warning: ..."
// or "dkms: hint: ...", in lower case and without a full stop. Quoted text
// cannot control the terminal.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"dkms/pkg/exit"
)

// Kind is what an event means to its reader.
type Kind int

// The kinds of events, from the least to the most serious.
const (
	// Detail is for --verbose only.
	Detail Kind = iota
	// Progress says that a step begins, or what a run has decided.
	Progress
	// Done says that a step has changed something.
	Done
	// Warning is something that the reader should know.
	Warning
	// Failure says that a step or a run did not do what was asked.
	Failure
)

// Event is one thing that happened, about one module and kernel or about the
// run as a whole.
type Event struct {
	Kind Kind
	// Module is NAME/VERSION; Kernel and Arch are the target. They are empty
	// in events about the whole run.
	Module, Kernel, Arch string
	// Step is the verb of the step, such as "build".
	Step string
	// Text says what happened. It names its subject itself.
	Text string
	// Err is the cause of a Failure, with its exit status and hint.
	Err error
	// Elapsed is how long the step took, where that is of interest.
	Elapsed time.Duration
	// Log is the file that the programs of a step write to. The Progress event
	// that begins the step has it, for live displays.
	Log string
}

// Sink receives events, one at a time.
type Sink interface{ Event(Event) }

// Reporter passes events to its sinks and results to standard output. Several
// goroutines may use it at once.
type Reporter struct {
	mu    sync.Mutex
	out   io.Writer
	sinks []Sink
	// colours says that results go to a terminal that shows colours.
	colours bool
}

// New returns a reporter that writes results to out and passes events to sinks.
// Results pass through [Clean], unless out turns them into JSON objects.
func New(out io.Writer, sinks ...Sink) *Reporter {
	if _, ok := out.(*JSONLines); !ok {
		out = Clean(out)
	}
	return &Reporter{out: out, sinks: sinks}
}

// Verbose makes the sinks pass on details from now on.
func (r *Reporter) Verbose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		switch s := s.(type) {
		case *Lines:
			s.Verbose = true
		case *Live:
			s.Verbose = true
		case *JSONLines:
			s.Verbose = true
		case *Journal:
			s.Verbose = true
		}
	}
}

// Close makes the sinks restore the terminal.
func (r *Reporter) Close() {
	for _, s := range r.sinks {
		if c, ok := s.(io.Closer); ok {
			c.Close()
		}
	}
}

// Attended reports whether somebody watches at a terminal.
func (r *Reporter) Attended() bool {
	return slices.ContainsFunc(r.sinks, func(s Sink) bool { _, ok := s.(*Live); return ok })
}

// Emit hands e to every sink.
func (r *Reporter) Emit(e Event) { r.emit(e, func(Sink) bool { return true }) }

func (r *Reporter) emit(e Event, to func(Sink) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		if to(s) {
			s.Event(e)
		}
	}
}

// Alive tells the service manager that a long step is still running.
func (r *Reporter) Alive() {
	for _, s := range r.sinks {
		switch s := s.(type) {
		case *waiting:
			s.to.Alive()
		case *Notify:
			s.Alive()
		}
	}
}

// Tally tells live displays how many of the long steps are over.
func (r *Reporter) Tally(over, of int) {
	for _, s := range r.sinks {
		if l, ok := s.(*Live); ok {
			l.count(tally{over, of})
		}
	}
}

// Result writes a line that programs may read to standard output.
func (r *Reporter) Result(line string) { r.print(r.out, line) }

func (r *Reporter) print(out io.Writer, line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		if l, ok := s.(*Live); ok { // both write to the same screen
			l.hide()
			defer l.show()
		}
	}
	fmt.Fprintln(out, line)
}

// JSON writes v, indented, as the only result of a command.
func (r *Reporter) JSON(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		r.Result(string(data))
	}
	return err
}

// Detailf emits a line for --verbose.
func (r *Reporter) Detailf(format string, args ...any) {
	r.Emit(Event{Kind: Detail, Text: fmt.Sprintf(format, args...)})
}

// Progressf emits a line about the run as a whole.
func (r *Reporter) Progressf(format string, args ...any) {
	r.Emit(Event{Kind: Progress, Text: fmt.Sprintf(format, args...)})
}

// Warnf emits a warning about the run as a whole.
func (r *Reporter) Warnf(format string, args ...any) {
	r.Emit(Event{Kind: Warning, Text: fmt.Sprintf(format, args...)})
}

// Error emits the failure of the run as a whole.
func (r *Reporter) Error(err error) {
	r.Emit(Event{Kind: Failure, Text: err.Error(), Err: err})
}

// Lines is the sink for people: one line an event.
type Lines struct {
	W io.Writer
	// Quiet shows only warnings and failures; Verbose adds details.
	Quiet, Verbose bool
	// Prefix begins every line; empty is "dkms".
	Prefix string

	last string // the line that was written last
}

// Event writes e if the reader wants events of its kind.
func (l *Lines) Event(e Event) {
	if e.Kind == Detail && !l.Verbose || l.Quiet && e.Kind < Warning {
		return
	}
	label := ""
	if e.Kind == Warning {
		label = "warning: "
	}
	first, rest, more := strings.Cut(strings.TrimRight(e.Text, "\n"), "\n")
	if e.Elapsed >= time.Second/10 {
		first += fmt.Sprintf(" (%.1f s)", e.Elapsed.Seconds())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s%s\n", l.prefix(), label, first)
	if more {
		for line := range strings.SplitSeq(rest, "\n") {
			fmt.Fprintf(&b, "%s: %s%s\n", l.prefix(), label, line)
		}
	}
	if hint := exit.Hint(e.Err); hint != "" {
		for line := range strings.SplitSeq(hint, "\n") {
			fmt.Fprintf(&b, "%s: hint: %s\n", l.prefix(), line)
		}
	}
	l.write(e.Kind, b.String())
}

func (l *Lines) prefix() string {
	if l.Prefix == "" {
		return "dkms"
	}
	return l.Prefix
}

// write writes the text of an event. A warning or failure that repeats the line
// before is written once, because one cause may stop several modules in a row.
func (l *Lines) write(k Kind, text string) {
	if k >= Warning && text == l.last {
		return
	}
	l.last = text
	io.WriteString(l.W, harmless(text))
}
