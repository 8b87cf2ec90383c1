// Package index reads the module index of a kernel, the modules.* files that
// depmod makes, and updates it for the modules that have changed.
//
// It guarantees that the files it writes are byte for byte those that depmod
// would write; where it cannot prove that, it writes nothing and gives the
// reason. A reader never finds a file that is half written, and an index that
// was written only in part can be recognised afterwards.
package index

import (
	"errors"
	"fmt"
	"sync"
)

// Tree is the module directory of one kernel, with the other inputs of depmod.
type Tree struct {
	// Dir is the module directory.
	Dir string
	// Config are the directories of depmod's configuration.
	Config []string
	// Symvers is the Module.symvers of the kernel, which may be missing.
	Symvers string
	// Depmod describes the depmod program that Update takes the place of. It is
	// called only if all files of an index exist.
	Depmod func() (Depmod, error)
	// Program, unless it is nil, identifies the file of that program, or returns "".
	// While the file is the same, Depmod is not called for an index that has a note.
	Program func() string
	// Read is the index as it was read some time before, or nil. If its files
	// have changed since, Update reads them again.
	Read *Ahead
	// Note is the path of a file in which Update keeps what it has proven, or "".
	// As long as the index is the same, the next Update proves and reads less.
	Note string
}

// Ahead is an index that is read ahead of an update, which then takes less time.
type Ahead struct {
	open  func() (*loaded, error)
	parse func() error
}

// Ahead prepares the reading of the index.
func (t *Tree) Ahead() *Ahead {
	a := &Ahead{open: sync.OnceValues(t.open)}
	a.parse = sync.OnceValue(func() error {
		old, err := a.open()
		if err != nil {
			return err
		}
		return old.parse()
	})
	return a
}

// Start starts the reading in the background. It may be called several times.
func (a *Ahead) Start() { go a.parse() }

// NotProven is the error for an update that cannot be proven right, so that
// depmod has to make the index. Reason says what prevents the proof.
type NotProven struct{ Reason string }

func (e *NotProven) Error() string { return e.Reason }

// doubt returns a [NotProven].
func doubt(format string, args ...any) error { return &NotProven{fmt.Sprintf(format, args...)} }

// IsNotProven reports whether err is a [NotProven] and not a failure to read or
// write files.
func IsNotProven(err error) bool {
	_, ok := errors.AsType[*NotProven](err)
	return ok
}

// Result describes an update.
type Result struct {
	// Modules is how many modules the index has; Changed how many of them are
	// new or different; Removed how many are gone; Read how many module files
	// were opened.
	Modules, Changed, Removed, Read int
}

// Update updates the index. If the error is a [NotProven], nothing was written;
// after any other error the index may be written in part. Running depmod
// repairs both. The caller makes sure that nobody else changes the modules
// meanwhile.
func (t *Tree) Update() (*Result, error) {
	c, err := t.plan()
	if err != nil {
		return nil, err
	}
	now, err := c.contents()
	if err != nil {
		return nil, err
	}
	if err := c.old.replace(now.render(c.old.size)); err != nil {
		return nil, err
	}
	t.note(c.old, c.walked)
	return c.result(), nil
}

// together does several things at once, since somebody waits for an update, and
// returns the first error in the order of its arguments.
func together(do ...func() error) error {
	errs := make([]error, len(do))
	var running sync.WaitGroup
	for i, f := range do {
		running.Go(func() { errs[i] = f() })
	}
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// plan finds the changes and proves that no other facts are needed.
func (t *Tree) plan() (*change, error) {
	old, parse, err := t.known()
	if err != nil {
		return nil, err
	}
	w := t.walker(old)
	if err := together(parse, w.walk); err != nil {
		return nil, err
	}
	winners, err := t.winners(w.list)
	if err != nil {
		return nil, err
	}
	c, err := t.compare(old, winners)
	if err != nil {
		return nil, err
	}
	c.walked = w
	return c, c.settle()
}

// known returns the index on disk, and what is left to do to parse it.
func (t *Tree) known() (*loaded, func() error, error) {
	if t.Read != nil {
		if old, err := t.Read.open(); err == nil && old.unchanged() {
			return old, t.Read.parse, nil
		}
	}
	old, err := t.open()
	if err != nil {
		return nil, nil, err
	}
	return old, old.parse, nil
}
