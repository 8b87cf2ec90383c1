// Package vm holds the tests that boot Debian in qemu with our dkms in it: the
// boot services of systemd and OpenRC, the kernel hook, enforced signatures and
// power cuts.
//
// It guarantees that every verdict was reached inside a running kernel and came
// over its serial console, that every boot has a time limit, and that no
// process is ended but those it started. The tests have the build tag "vm" and
// need root.
//
// VM_SCENARIOS names scenarios, see the list in vm_test.go; by default the short
// ones are run. VM_SUITE is another release of Debian than bookworm. VM_CACHE is
// where the images and the consoles' logs are kept; VM_CUTS and VM_SEED are the
// number and the moments of the power cuts.
package vm
