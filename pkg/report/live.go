package report

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Live is the sink for people at a terminal: the lines of [Lines] stay, and
// below them one more says which step is being done, and for how long. It is
// to be closed.
type Live struct {
	Lines
	// Columns is how wide the terminal is now; nil means 80.
	Columns func() int
	// Now is the clock.
	Now func() time.Time
	// Ticks is when to look at the clock; nil is every second.
	Ticks <-chan time.Time

	mu     sync.Mutex
	steps  []step
	shown  bool // the last line on the screen is ours
	hidden bool // somebody else is writing
	stop   chan struct{}
}

// step is one thing that is being done.
type step struct {
	module, kernel, arch, step string
	text                       string
	since                      time.Time
}

func (s step) is(e Event) bool {
	return s.module == e.Module && s.kernel == e.Kernel && s.arch == e.Arch && s.step == e.Step
}

// Terminal reports whether f is a terminal that can overwrite a line.
func Terminal(env map[string]string, f *os.File) bool {
	if f == nil || env["TERM"] == "" || env["TERM"] == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Columns is how wide the terminal f is.
func Columns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return defaultColumns
	}
	return int(size.Col)
}

const defaultColumns = 80

// Event shows e: the beginning of a step on the line that changes, everything
// else on lines that stay.
func (l *Live) Event(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == Progress && e.Module != "" && e.Step != "" && !l.Quiet {
		l.steps = append(l.steps, step{e.Module, e.Kernel, e.Arch, e.Step, e.Text, l.Now()})
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

// tick has the line drawn again and again, until Close.
func (l *Live) tick() {
	if l.stop != nil {
		return
	}
	stop, ticks := make(chan struct{}), l.Ticks
	l.stop = stop
	if ticks == nil {
		ticker := time.NewTicker(time.Second)
		ticks = ticker.C // which ends with its last user
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

// draw writes the line over itself. Too long a line would not be overwritten.
func (l *Live) draw() {
	if len(l.steps) == 0 || l.hidden {
		return
	}
	s := l.steps[0]
	text := "dkms: " + s.text
	if l.Prefix != "" {
		text = l.Prefix + ": " + s.text
	}
	end := " ..."
	if n := len(l.steps) - 1; n > 0 {
		end = fmt.Sprintf(" and %d more ...", n)
	}
	if d := l.Now().Sub(s.since); d >= time.Second {
		end += fmt.Sprintf(" %d s", int(d.Seconds()))
	}
	columns := defaultColumns
	if l.Columns != nil {
		columns = l.Columns()
	}
	if room := max(columns-1-len(end), 0); len(text) > room {
		text = string([]rune(text)[:min(room, len([]rune(text)))])
	}
	l.shown = true
	io.WriteString(l.W, "\r"+text+end+clearLine)
}

// clearLine deletes from the cursor to the end of the line (ECMA-48, EL).
const clearLine = "\x1b[K"

func (l *Live) erase() {
	if l.shown {
		io.WriteString(l.W, "\r"+clearLine)
		l.shown = false
	}
}

// hide takes the line off the screen while somebody else writes there.
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

// Close takes the line off the screen for good.
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
