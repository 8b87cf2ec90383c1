// Package exit defines the exit statuses that scripts rely on.
//
// Every error that must end the program with a status other than 1 carries its
// code and, where there is one, the next step for the reader. The numbers are
// those of DKMS 3.4.3 (reference: dkms(8), EXIT STATUS).
package exit

import (
	"errors"
	"fmt"
)

// Code is a process exit status.
type Code int

// The exit statuses. Several meanings share a number, as in the original; the
// constants keep the meanings apart in code.
const (
	OK               Code = 0
	Usage            Code = 1 // arguments missing or contradictory, not root, tree not writable
	BadOption        Code = 2 // unknown option; -k with --all
	NoSource         Code = 2 // add: source directory missing; archive missing
	AlreadyAdded     Code = 3 // add: already added
	NotAdded         Code = 3 // uninstall, unbuild, remove, mktarball: not added
	ArchWithAll      Code = 3 // -a with --all
	TwoActions       Code = 4 // more than one action word
	NoConf           Code = 4 // dkms.conf not readable
	KernelCount      Code = 4 // not exactly one kernel where one is needed
	Broken           Code = 4 // the source link is lost
	NoOSRelease      Code = 4 // no os-release file
	AllBanned        Code = 5 // --all with an action that does not take it
	BadPatch         Code = 5 // patch missing or outside patches/
	PatchFailed      Code = 6 // patch does not apply
	InstallFailed    Code = 6 // nothing, or not everything, could be installed
	NotBuilt         Code = 6 // mktarball: not built; install: built module lost
	NoModule         Code = 7 // make succeeded but a module is missing or unusable
	BadArchive       Code = 7 // ldtarball: no usable content
	BadConf          Code = 8 // invalid dkms.conf
	ArchiveAdded     Code = 8 // ldtarball: already added
	OnlyConflict     Code = 8 // --binaries-only with --source-only
	EmptySource      Code = 8 // source directory holds fewer than two entries
	NoConfInDir      Code = 9 // path given to add holds no dkms.conf
	RPMFailed        Code = 9 // rpm -U failed
	ArchiveDest      Code = 9 // mktarball: destination not writable
	MakeFailed       Code = 10
	SomeFailed       Code = 11 // autoinstall: at least one module failed
	DependsMissing   Code = 13 // BUILD_DEPENDS not installed
	KernelHookFailed Code = 14 // kernel_preinst, kernel_prerm: at least one module failed
	EmptyTarget      Code = 16 // an empty kernel or architecture
	NoHeaders        Code = 21
	Excluded         Code = 77  // BUILD_EXCLUSIVE_* leaves nothing to build
	PreInstallFailed Code = 101 // PRE_INSTALL failed
)

// Error is an error with the exit status of the program.
type Error struct {
	Code Code
	Err  error
	// Hint is the next step for the reader; it may be empty.
	Hint string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the underlying error for [errors.Is] and [errors.As].
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [*Error] with the code and the formatted text.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// WithHint returns e with the given next step for the reader.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Status returns the exit status for err: 0 for nil, and 1 for an error without
// a code.
func Status(err error) Code {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Usage
}

// Hint returns the next step in err, or "".
func Hint(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}
