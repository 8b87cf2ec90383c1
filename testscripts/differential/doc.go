// Package differential holds the test that runs our dkms and the original side
// by side, in two chroots that are equal but for that program. The original is
// Debian's dkms 3.0.10 and 3.2.2, or that of a checkout.
//
// It guarantees that every difference it meets, in exit status, in what status
// says and in the files left behind, is either listed with its reason or fails
// the test. The tests have the build tag "differential" and need root.
package differential
