// Package images holds the tests that build modules for real systems that do
// not run, as README describes it.
//
// It guarantees nothing to anybody else: it is run by "make images", as root and
// with a Debian mirror.
package images
