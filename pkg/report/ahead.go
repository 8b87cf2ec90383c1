package report

import "sync"

// Ahead returns a reporter for something that is done before its turn. What
// it is told is said when turn is called; only what shows what is being done
// now, on a terminal or to the service manager, gets the beginning of steps at
// once.
func (r *Reporter) Ahead() (ahead *Reporter, turn func()) {
	w := &waiting{to: r}
	return &Reporter{out: r.out, sinks: []Sink{w}}, w.turn
}

// waiting is the sink of what is done ahead of its turn.
type waiting struct {
	to *Reporter

	mu     sync.Mutex
	events []Event
	open   bool
}

// Event keeps e until its turn.
func (w *waiting) Event(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open {
		w.to.Emit(e)
		return
	}
	w.events = append(w.events, e)
	if e.begins() {
		w.to.emit(e, showsPresent)
	}
}

func (e Event) begins() bool { return e.Kind == Progress && e.Step != "" }

func (w *waiting) turn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		w.to.emit(e, func(s Sink) bool { return !e.begins() || !showsPresent(s) })
	}
	w.events, w.open = nil, true
}

// showsPresent tells the sinks that show what is being done from those that
// keep a record.
func showsPresent(s Sink) bool {
	switch s.(type) {
	case *Live, *Notify:
		return true
	}
	return false
}

// Rest says of a step that was begun ahead of its turn that it is over, and
// waits for that: e has its subject and what to show. In its turn it has no
// effect.
func (r *Reporter) Rest(e Event) {
	for _, s := range r.sinks {
		w, ok := s.(*waiting)
		if !ok {
			continue
		}
		w.mu.Lock()
		open := w.open
		w.mu.Unlock()
		if !open {
			w.to.rests(e)
		}
	}
}

// rests shows it to those who only look at the present.
func (r *Reporter) rests(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		if l, ok := s.(*Live); ok {
			l.rest(e)
		}
	}
}
