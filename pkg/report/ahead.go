package report

import "sync"

// Ahead returns a reporter for something that is done before its turn. People
// read what it is told when turn is called, so that the lines about one module
// stay together; programs and logs get it when it happens, and what shows the
// present gets the beginning of steps. mend, if not nil, changes what people
// are told late.
func (r *Reporter) Ahead() (ahead *Reporter, turn func(mend func(Event) Event)) {
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

// Event passes e on at once to the sinks that do not wait, and keeps it for the
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

// takesAtOnce tells whether a sink gets an event when it happens: a record for
// programs does, what shows the present gets the beginning of steps, and what
// people read waits for its turn.
func takesAtOnce(s Sink, e Event) bool {
	switch s.(type) {
	case *JSONLines, *Journal:
		return true
	case *Live, *Notify:
		return e.begins()
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
