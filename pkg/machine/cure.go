package machine

import "dkms/pkg/tree"

// Cure is a repair that needs no question, as data: the code that finds faults
// cannot write.
type Cure struct {
	Kind   CureKind
	Target tree.Target
	Path   string
}

// CureKind is the kind of a cure.
type CureKind int

// These are the kinds of cures.
const (
	// Recover takes the lock, which finishes or undoes an interrupted change.
	Recover CureKind = iota
	// Reindex runs depmod for the target.
	Reindex
	// Reinstall runs autoinstall for the target.
	Reinstall
	// ForgetKernel deletes what the tree keeps for the target, a kernel that is
	// gone.
	ForgetKernel
	// Delete deletes the path.
	Delete
	// Protect lets only the owner read and write the file at the path.
	Protect
)
