package report

import "sync"

// Ahead returns a reporter for work that runs before its turn. The lines about
// one module must stay together, so people read the work's events only when
// turn is called. Programs and logs get each event when it happens, and live
// displays get the beginning of steps. mend, if not nil, changes the late
// events.
func (r *Reporter) Ahead() (ahead *Reporter, turn func(mend func(Event) Event)) {
	w := &waiting{to: r}
	return &Reporter{out: r.out, sinks: []Sink{w}}, w.turn
}

// waiting is the sink for events of work that runs before its turn.
type waiting struct {
	to *Reporter

	mu     sync.Mutex
	events []Event
	open   bool
}

// Event passes e at once to the sinks that do not wait, and keeps e for the
// others.
func (w *waiting) Event(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open {
		w.to.Emit(e)
		return
	}
	w.events = append(w.events, e)
	w.to.emit(e, func(s Sink) bool { return takesAtOnce(s, e) })
}

func (e Event) begins() bool { return e.Kind == Progress && e.Step != "" }

func (w *waiting) turn(mend func(Event) Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		late := e
		if mend != nil {
			late = mend(e)
		}
		w.to.emit(late, func(s Sink) bool { return !takesAtOnce(s, e) })
	}
	w.events, w.open = nil, true
}

// takesAtOnce reports whether a sink gets an event when it happens. Records for
// programs always do, live displays get the beginning of steps, and lines for
// people wait for their turn.
func takesAtOnce(s Sink, e Event) bool {
	switch s.(type) {
	case *JSONLines, *Journal:
		return true
	case *Live, *Notify:
		return e.begins()
	}
	return false
}

// Rest shows that a step which ran before its turn is over and waits for its
// turn. e has the subject of the step and the text to show. Rest has no effect
// once the turn has come.
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

// rests passes e to the live displays.
func (r *Reporter) rests(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sinks {
		if l, ok := s.(*Live); ok {
			l.rest(e)
		}
	}
}
