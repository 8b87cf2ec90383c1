package machine

import "dkms/pkg/tree"

// Cure is something that can be done about a finding without asking, as data:
// who looks for what is wrong cannot write.
type Cure struct {
	Kind   CureKind
	Target tree.Target
	Path   string
}

// CureKind is what a cure does.
type CureKind int

// The cures.
const (
	// Recover: taking the lock finishes or undoes what was interrupted.
	Recover CureKind = iota
	// Reindex runs depmod for the target.
	Reindex
	// Reinstall runs autoinstall for the target.
	Reinstall
	// ForgetKernel deletes what is kept for the target, a kernel that is gone.
	ForgetKernel
	// Delete deletes the path.
	Delete
	// Protect leaves the file at the path to its owner alone.
	Protect
)
