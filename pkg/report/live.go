package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Live is the sink for people at a terminal. The lines of [Lines] stay; below
// them, one line for each step in progress shows the step and how long it has
// taken. With Verbose, the last line of the step's log follows that line. The
// caller must close Live.
type Live struct {
	Lines
	// Size returns the size of the terminal; nil means 80 by 24.
	Size func() (columns, rows int)
	// Now returns the time.
	Now func() time.Time
	// Ticks says when to redraw; nil means every second.
	Ticks <-chan time.Time

	mu     sync.Mutex
	steps  []step
	began  time.Time // when the first step began
	tally  tally
	shown  int  // how many lines at the end of the screen belong to this display
	hidden bool // another writer uses the terminal
	stop   chan struct{}
}

// tally counts the long steps of a run that are over.
type tally struct{ over, of int }

// least is the smallest number of steps for which an estimate is shown.
const least = 3

// text returns the progress of the run and an estimate of the remaining time.
func (t tally) text(taken time.Duration) string {
	if t.of < least {
		return ""
	}
	text := fmt.Sprintf("%d of %d", t.over, t.of)
	if t.over == 0 || t.over == t.of {
		return text
	}
	return text + ", about " + About(taken/time.Duration(t.over)*time.Duration(t.of-t.over))
}

// About returns a duration in everyday words, rounded.
func About(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(int(d.Round(time.Second).Seconds()), 1))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
}

// step is a step in progress.
type step struct {
	module, kernel, arch, step string
	text, log                  string
	since                      time.Time
	over                       bool // the step only waits for its turn
}

func (s step) is(e Event) bool {
	return s.module == e.Module && s.kernel == e.Kernel && s.arch == e.Arch && s.step == e.Step
}

// Event shows e: the beginning of a step on a line that changes, everything
// else on lines that stay.
func (l *Live) Event(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == Progress && e.Module != "" && e.Step != "" && !l.Quiet {
		l.begin(e)
		l.tick()
		l.draw()
		return
	}
	if e.Kind != Progress {
		l.steps = slices.DeleteFunc(l.steps, func(s step) bool { return s.is(e) })
	}
	l.erase()
	l.Lines.Event(e)
	l.draw()
}

// begin records the step that e begins, or new progress of that step.
func (l *Live) begin(e Event) {
	if l.began.IsZero() {
		l.began = l.Now()
	}
	s := step{module: e.Module, kernel: e.Kernel, arch: e.Arch, step: e.Step, text: printable(e.Text), log: e.Log, since: l.Now()}
	if at := slices.IndexFunc(l.steps, func(s step) bool { return s.is(e) }); at >= 0 {
		s.since = l.steps[at].since
		l.steps[at] = s
		return
	}
	l.steps = append(l.steps, s)
}

// count records how many of the long steps are over.
func (l *Live) count(t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally = t
}

// rest marks a step as waiting for its turn. The next change redraws its line,
// because most steps do not have to wait.
func (l *Live) rest(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.steps {
		if s := &l.steps[i]; s.is(e) {
			s.text, s.log, s.over = printable(e.Text), "", true
		}
	}
}

// tick redraws the lines periodically until Close.
func (l *Live) tick() {
	if l.stop != nil {
		return
	}
	stop, ticks := make(chan struct{}), l.Ticks
	l.stop = stop
	if ticks == nil {
		ticker := time.NewTicker(time.Second)
		ticks = ticker.C // the channel ends with its last user
	}
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-ticks:
				l.mu.Lock()
				l.draw()
				l.mu.Unlock()
			}
		}
	}()
}

// draw writes the lines over those on the screen.
func (l *Live) draw() {
	if len(l.steps) == 0 || l.hidden {
		return
	}
	lines := l.drawing()
	text := l.erasure() + strings.Join(lines, "\n")
	l.shown = len(lines)
	io.WriteString(l.W, text)
}

// drawing returns the lines to show. A line that wraps at the edge of the
// terminal, or scrolls off its top, could not be overwritten, so drawing cuts
// the lines to the terminal's size.
func (l *Live) drawing() (lines []string) {
	columns, rows := defaultColumns, defaultRows
	if l.Size != nil {
		columns, rows = l.Size()
	}
	width, room := columns-1, max(rows-1, 1)
	far := l.tally.text(l.Now().Sub(l.began))
	if far != "" && room > 1 {
		room--
		defer func() { lines = append(lines, cut(l.prefix()+": "+far, width)) }()
	}
	for i, s := range l.steps {
		if left := len(l.steps) - i; left > room-len(lines) && len(lines) == room-1 {
			return append(lines, l.row(width, step{text: fmt.Sprintf("%d more", left), since: s.since}))
		}
		lines = append(lines, l.row(width, s))
		others := len(l.steps) - i - 1
		if !l.Verbose || len(lines)+others >= room {
			continue
		}
		if last := lastLine(s.log, s.since); last != "" {
			lines = append(lines, cut("  "+last, width))
		}
	}
	return lines
}

// row returns the line about a step.
func (l *Live) row(width int, s step) string {
	if s.over {
		return cut(l.prefix()+": "+s.text, width)
	}
	end := " ..."
	if d := l.Now().Sub(s.since); d >= time.Second {
		end += fmt.Sprintf(" %d s", int(d.Seconds()))
	}
	return cut(l.prefix()+": "+s.text, width-len(end)) + end
}

// clearLine deletes from the cursor to the end of the line, lineUp moves the
// cursor up (ECMA-48, EL and CUU).
const clearLine, lineUp = "\x1b[K", "\x1b[A"

// erasure returns the escape sequences that remove the lines from the screen.
func (l *Live) erasure() string {
	if l.shown == 0 {
		return ""
	}
	return "\r" + clearLine + strings.Repeat(lineUp+clearLine, l.shown-1)
}

func (l *Live) erase() {
	if l.shown > 0 {
		io.WriteString(l.W, l.erasure())
		l.shown = 0
	}
}

// hide removes the lines from the screen while another writer uses it.
func (l *Live) hide() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.hidden = true
}

func (l *Live) show() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hidden = false
	l.draw()
}

// Close removes the lines from the screen for good.
func (l *Live) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.steps = nil
	if l.stop != nil {
		close(l.stop)
		l.stop = nil
	}
	return nil
}
