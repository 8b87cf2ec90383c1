// Package index is the module index of a kernel, the modules.* files that
// depmod makes, and brings it up to date for the modules that have changed.
//
// It guarantees that the files it writes are byte for byte those that depmod
// would write, or it writes nothing and says why that could not be proven; a
// reader never finds a file that is half written, and an index that was only
// written in part is known as such afterwards.
package index

import (
	"errors"
	"fmt"
)

// Tree is the module directory of one kernel, with all that depmod would look
// at besides.
type Tree struct {
	// Dir is the module directory.
	Dir string
	// Config are the directories of depmod's configuration.
	Config []string
	// Symvers is the Module.symvers of the kernel, which need not be there.
	Symvers string
	// Depmod tells about the program whose work is done. It is asked once all
	// files of an index are there.
	Depmod func() (Depmod, error)
}

// NotProven is the error of an index that depmod has to make: what stands in
// the way of proving that an update would be right.
type NotProven struct{ Reason string }

func (e *NotProven) Error() string { return e.Reason }

// doubt is a [NotProven].
func doubt(format string, args ...any) error { return &NotProven{fmt.Sprintf(format, args...)} }

// IsNotProven tells a [NotProven] from trouble with files.
func IsNotProven(err error) bool {
	_, ok := errors.AsType[*NotProven](err)
	return ok
}

// Result tells what an update did.
type Result struct {
	// Modules is how many modules the index has, Changed how many of them are
	// new or no longer the same, Removed how many are gone, and Read how many
	// module files were opened.
	Modules, Changed, Removed, Read int
}

// Update brings the index up to date. With a [NotProven] nothing was written;
// after any other error the index may be written in part. Both are mended by
// depmod. The caller keeps others from changing the modules meanwhile.
func (t *Tree) Update() (*Result, error) {
	c, err := t.plan()
	if err != nil {
		return nil, err
	}
	now, err := c.contents()
	if err != nil {
		return nil, err
	}
	return c.result(), c.old.replace(now.render(c.old.files))
}

// plan finds out what has changed, and proves that no more has to be known.
func (t *Tree) plan() (*change, error) {
	old, err := t.load()
	if err != nil {
		return nil, err
	}
	found, err := t.walk(old)
	if err != nil {
		return nil, err
	}
	winners, err := t.winners(found)
	if err != nil {
		return nil, err
	}
	c, err := t.compare(old, winners)
	if err != nil {
		return nil, err
	}
	if err := c.settle(); err != nil {
		return nil, err
	}
	return c, old.verify()
}
