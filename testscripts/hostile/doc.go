// Package hostile holds attacks on dkms: what a hostile module package, or a
// hostile user of the machine, does to it.
//
// Every attack really runs, against the built program, as root, on a machine
// of its own in a chroot. The number of attacks that were tried and held is
// printed at the end.
package hostile
