// Package fleet has builds travel from one machine to others through a real
// registry: Debian's docker-registry on the loopback interface, reached by
// skopeo. Each machine is a root of its own. It guarantees that what is said of
// "one build, many machines" holds with the programs that people use for it.
package fleet
