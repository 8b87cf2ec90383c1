// Package bench holds the measurement behind "make bench": our dkms beside
// Debian's dkms 3.0.10, beside bare makes and beside the smallest Go programs; and
// behind "make bench-full": beside the dkms of three releases of Debian, on whole
// kernels.
//
// It guarantees that what is compared is measured in one run, in turns, by
// running the installed programs in two systems that are equal but for dkms,
// and that every figure stands beside its target. The test has the build tag
// "bench" and needs root.
package bench
