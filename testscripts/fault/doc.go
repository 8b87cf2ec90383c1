// Package fault holds the tests that break the machine under dkms: they end it
// at every system call that changes something, let those calls fail, fill real
// file systems to the brim, run twenty of it at once and hand it hostile files.
//
// It guarantees that every point of a run is tried, not a sample, where the
// build tag "fault" is given, and that after each of them the kernel has the
// old set or the new set of modules and the next run makes everything whole.
package fault
